"""Reads an event file with TensorBoard's own reader, which checks all checksums, and prints tag, step, value.

Usage: python3 check_events.py events.out.tfevents.*     (needs the package tensorboard)
"""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

for path in sys.argv[1:]:
    events = EventAccumulator(path, size_guidance={"scalars": 0})
    events.Reload()
    print(path, "written by", events.file_version, "first", events.FirstEventTimestamp())
    for tag in events.Tags()["scalars"]:
        for e in events.Scalars(tag):
            print(f"{tag} {e.step} {e.value:.9g} {e.wall_time:.17g}")
