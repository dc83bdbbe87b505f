# Draws the CSV files of tests/bench/bench_growth.c in the current directory: `make bench-growth` calls it.
set datafile separator ','
set terminal pngcairo enhanced size 1500,900 font 'sans,12'
set grid lc rgb '#dddddd'
set format x '%.0s%c'
blue = '#0060ad'
orange = '#dd5511'
green = '#228833'
grey = '#888888'
have(file) = system('test -f '.file.'.csv && echo 1') eq '1' # parts can be measured one by one

# ---- learner step: time over multiply-adds, flat is ideal --------------------------------------------
if (have('step_observation')) {
set output 'step.png'
set multiplot layout 2,3 title 'One learner step: nanoseconds per multiply-add (middle: B = 64, width 64, T = 10, S = 4, O = 16)'
set logscale xy
set ylabel 'ns per multiply-add'
set yrange [0.005:0.5]
set key top right
set xlabel 'sequences in a batch, B'
set key top right
plot 'step_batch.csv' every ::1 using 1:(1e6*$2/$7) with linespoints pt 7 lw 2 lc rgb blue title '1 thread', \
     '' every ::1 using 1:(1e6*$3/$7) with linespoints pt 7 lw 2 lc rgb orange title '2 threads', \
     '' every ::1 using 1:(1e6*$4/$7) with linespoints pt 6 lc rgb green title '1 thread, small shards', \
     '' every ::1 using 1:6 with lines dt 2 lw 2 lc rgb grey title 'matrix product of this width'
set xlabel 'hidden width'
plot 'step_width.csv' every ::1 using 1:(1e6*$2/$7) with linespoints pt 7 lw 2 lc rgb blue title '1 thread', \
     '' every ::1 using 1:(1e6*$3/$7) with linespoints pt 7 lw 2 lc rgb orange title '2 threads', \
     '' every ::1 using 1:(1e6*$5/$7) with linespoints pt 6 lc rgb green title '1 thread, ReLU, no layer norm', \
     '' every ::1 using 1:6 with lines dt 2 lw 2 lc rgb grey title 'matrix product of this width', \
     'step_width_ragged.csv' every ::1 using 1:(1e6*$2/$7) with points pt 1 ps 1.5 lw 2 lc rgb blue title '1 thread, no multiple of 16', \
     '' every ::1 using 1:6 with points pt 1 lc rgb grey notitle
set xlabel 'rows of a sequence, T'
plot 'step_length.csv' every ::1 using 1:(1e6*$2/$7) with linespoints pt 7 lw 2 lc rgb blue title '1 thread', \
     '' every ::1 using 1:(1e6*$3/$7) with linespoints pt 7 lw 2 lc rgb orange title '2 threads', \
     '' every ::1 using 1:(1e6*$4/$7) with linespoints pt 6 lc rgb green title '1 thread, small shards', \
     'step_length_lstm.csv' every ::1 using 1:(1e6*$2/$7) with linespoints pt 5 lc rgb '#aa3377' title '1 thread, LSTM of 64', \
     'step_length.csv' every ::1 using 1:6 with lines dt 2 lw 2 lc rgb grey title 'matrix product of this width'
set xlabel 'action samples, S'
plot 'step_samples.csv' every ::1 using 1:(1e6*$2/$7) with linespoints pt 7 lw 2 lc rgb blue title '1 thread', \
     '' every ::1 using 1:(1e6*$3/$7) with linespoints pt 7 lw 2 lc rgb orange title '2 threads', \
     '' every ::1 using 1:(1e6*$4/$7) with linespoints pt 6 lc rgb green title '1 thread, small shards', \
     '' every ::1 using 1:6 with lines dt 2 lw 2 lc rgb grey title 'matrix product of this width'
set xlabel 'numbers in an observation, O'
plot 'step_observation.csv' every ::1 using 1:(1e6*$2/$7) with linespoints pt 7 lw 2 lc rgb blue title '1 thread', \
     '' every ::1 using 1:(1e6*$3/$7) with linespoints pt 7 lw 2 lc rgb orange title '2 threads', \
     '' every ::1 using 1:6 with lines dt 2 lw 2 lc rgb grey title 'matrix product of this width'
set xlabel 'multiply-adds of a step'
set ylabel 'milliseconds'
set yrange [*:*]
set key top left
plot 'step_batch.csv' every ::1 using 7:2 with linespoints pt 7 lc rgb blue title 'B', \
     'step_width.csv' every ::1 using 7:2 with linespoints pt 7 lc rgb orange title 'width', \
     'step_length.csv' every ::1 using 7:2 with linespoints pt 7 lc rgb green title 'T', \
     'step_samples.csv' every ::1 using 7:2 with linespoints pt 7 lc rgb '#aa3377' title 'S', \
     'step_observation.csv' every ::1 using 7:2 with linespoints pt 7 lc rgb '#66aadd' title 'O', \
     x*1e-8 with lines dt 2 lw 2 lc rgb grey title '.01 ns each'
unset multiplot
}

# ---- replay --------------------------------------------------------------------------------------------
if (have('replay_batch')) {
set terminal pngcairo enhanced size 1500,480 font 'sans,12'
set output 'replay.png'
set multiplot layout 1,3 title 'Replay of sequences of 10 steps, batches of 256'
set ylabel 'ns per sequence'
set xlabel 'steps kept'
set yrange [1:30000]
set title 'pendulum: 332 bytes a sequence'
plot 'replay_pendulum.csv' every ::1 using 2:8 with linespoints pt 7 lw 2 lc rgb blue title 'sample', \
     '' every ::1 using 2:9 with linespoints pt 6 lc rgb green title 'sample, pages of 2 MB', \
     '' every ::1 using 2:10 with lines dt 2 lw 2 lc rgb grey title 'touch its lines, no more', \
     '' every ::1 using 2:6 with linespoints pt 7 lw 2 lc rgb orange title 'insert', \
     '' every ::1 using 2:7 with lines dt 3 lw 2 lc rgb grey title 'memset of as much'
set title 'O = 60, A = 8: 3120 bytes a sequence'
plot 'replay_ant.csv' every ::1 using 2:8 with linespoints pt 7 lw 2 lc rgb blue title 'sample', \
     '' every ::1 using 2:9 with linespoints pt 6 lc rgb green title 'sample, pages of 2 MB', \
     '' every ::1 using 2:10 with lines dt 2 lw 2 lc rgb grey title 'touch its lines, no more', \
     '' every ::1 using 2:6 with linespoints pt 7 lw 2 lc rgb orange title 'insert', \
     '' every ::1 using 2:7 with lines dt 3 lw 2 lc rgb grey title 'memset of as much'
set title 'O = 16, A = 4, 10^6 steps kept'
set xlabel 'sequences in a batch, B'
set yrange [10:1000]
plot 'replay_batch.csv' every ::1 using 1:2 with linespoints pt 7 lw 2 lc rgb blue title 'sample'
unset multiplot
}

# ---- pools ---------------------------------------------------------------------------------------------
if (have('pool_pointmass')) {
set terminal pngcairo enhanced size 1500,900 font 'sans,12'
set output 'pool.png'
set multiplot layout 2,2 title 'A pool of environments: steps per second'
set xlabel 'environments'
set ylabel 'steps per second'
set format y '%.0s%c'
set key bottom right
do for [env in 'pendulum pointmass ant'] {
    file = 'pool_'.env.'.csv'
    if (have('pool_'.env)) {
        set title env
        set yrange [(env eq 'ant' ? 1000 : 1e6):(env eq 'ant' ? 1e4 : 2e8)]
        plot file every ::1 using 1:2 with linespoints pt 7 lw 2 lc rgb blue title '1 thread', \
             '' every ::1 using 1:3 with linespoints pt 7 lw 2 lc rgb orange title '2 threads', \
             '' every ::1 using 1:4 with linespoints pt 6 lc rgb green title 'no pool, 16 steps each in turn'
    }
}
set title 'two jobs on two threads'
set xlabel 'microseconds of one job'
set format x '%g'
set ylabel 'time on 1 thread / on 2'
set format y '%g'
unset logscale y
set yrange [0:2.2]
set key top left
plot 'hand_over.csv' every ::1 using 1:($2/$3) with linespoints pt 7 lw 2 lc rgb orange title 'measured', \
     1 with lines dt 2 lc rgb grey notitle, 2 with lines dt 2 lw 2 lc rgb grey title 'ideal'
unset multiplot
set format x '%.0s%c'
}

# ---- memory ---------------------------------------------------------------------------------------------
if (have('step_observation') && have('replay_batch') && have('pool_pointmass')) {
set terminal pngcairo enhanced size 1500,480 font 'sans,12'
set output 'memory.png'
set multiplot layout 1,3 title 'Memory: lines by bp\_..\_size(), points by malloc'
set yrange [*:*]
set logscale y
set format y '%.0s %cB'
set ylabel 'bytes'
set title 'learner'
set xlabel 'the number that is varied'
plot 'step_batch.csv' every ::1 using 1:8 with lines lw 2 lc rgb blue title 'B', '' every ::1 using 1:9 with points pt 7 lc rgb blue notitle, \
     'step_width.csv' every ::1 using 1:8 with lines lw 2 lc rgb orange title 'width', '' every ::1 using 1:9 with points pt 7 lc rgb orange notitle, \
     'step_length.csv' every ::1 using 1:8 with lines lw 2 lc rgb green title 'T', '' every ::1 using 1:9 with points pt 7 lc rgb green notitle, \
     'step_samples.csv' every ::1 using 1:8 with lines lw 2 lc rgb '#aa3377' title 'S', '' every ::1 using 1:9 with points pt 7 lc rgb '#aa3377' notitle, \
     'step_observation.csv' every ::1 using 1:8 with lines lw 2 lc rgb '#66aadd' title 'O', '' every ::1 using 1:9 with points pt 7 lc rgb '#66aadd' notitle
set title 'replay'
set xlabel 'steps kept'
plot 'replay_pendulum.csv' every ::1 using 2:3 with lines lw 2 lc rgb blue title 'pendulum', '' every ::1 using 2:4 with points pt 7 lc rgb blue notitle, \
     'replay_ant.csv' every ::1 using 2:3 with lines lw 2 lc rgb orange title 'O = 60, A = 8', '' every ::1 using 2:4 with points pt 7 lc rgb orange notitle
set title 'pool (malloc, one thread)'
set xlabel 'environments'
plot 'pool_pendulum.csv' every ::1 using 1:5 with linespoints pt 7 lw 2 lc rgb blue title 'pendulum', \
     '< test -f pool_ant.csv && cat pool_ant.csv' every ::1 using 1:5 with linespoints pt 7 lw 2 lc rgb orange title 'ant'
unset multiplot
}

# ---- long runs --------------------------------------------------------------------------------------------
if (have('checkpoint') && have('actors') && have('run')) {
set output 'run.png'
set multiplot layout 1,3 title 'Long runs'
set title 'a checkpoint writes the whole replay'
set xlabel 'bytes of replay'
set format x '%.0s %cB'
set format y '%g'
set ylabel 'seconds'
set key top left Left reverse
set xrange [1e5:1e9]
set xtics 1e5,100,1e9
set yrange [1e-5:100]
plot 'checkpoint.csv' every ::1 using 2:3 with linespoints pt 7 lw 2 lc rgb blue title 'checkpoint', \
     '' every ::1 using 2:7 with linespoints pt 7 lw 2 lc rgb orange title 'resume', \
     '' every ::1 using 2:5 with lines dt 2 lw 2 lc rgb grey title 'write() and fsync() of as much', \
     '' every ::1 using 2:6 with lines dt 3 lw 2 lc rgb grey title 'checksum of as much'
set title 'actors of a run on two processors'
set xlabel 'actors'
set format x '%g'
set format y '%.0s%c'
set ylabel 'environment steps per second'
set yrange [1e3:1e7]
set xrange [1:1000]
set xtics autofreq
set key bottom right noreverse Right
plot 'actors.csv' every ::1 using 1:2 with linespoints pt 7 lw 2 lc rgb blue title 'in turn, 1 thread', \
     '' every ::1 using 1:3 with linespoints pt 7 lw 2 lc rgb orange title 'in turn, 2 threads', \
     '' every ::1 using 1:4 with linespoints pt 7 lw 2 lc rgb green title 'free-running', \
     '' every ::1 using 1:5 with linespoints pt 6 lc rgb blue title 'thin: the same, learner the slower', \
     '' every ::1 using 1:6 with linespoints pt 6 lc rgb orange notitle, '' every ::1 using 1:7 with linespoints pt 6 lc rgb green notitle
unset logscale
set title 'ten million steps of one run'
set xlabel 'environment steps'
set format x '%.0s%c'
set format y '%.0s%c'
set ytics 0,1e6,3e6
set yrange [0:3e6]
set key at graph 0.97,0.4
set xrange [0:1e7]
set xtics 0,2e6,1e7
set y2range [0:100]
set ytics nomirror
set y2tics
set y2label 'MB'
plot 'run.csv' every ::1 using 1:2 with linespoints pt 7 lw 2 lc rgb blue title 'steps per second', \
     '' every ::1 using 1:($3/1e6) axes x1y2 with linespoints pt 7 lw 2 lc rgb orange title 'resident memory, MB', \
     '' every ::1 using 1:($5/1e6) axes x1y2 with lines dt 2 lw 2 lc rgb green title 'progress.csv on disk, MB'
unset multiplot
}
