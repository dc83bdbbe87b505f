# The new task: share of episodes that arrive, from the last table of the example's output.
table = "< awk '/steps +no prior/{on=1;next} on&&NF==4' docs/lessons/output/06_prior.txt"
set xlabel 'environment steps on the new task'
set ylabel 'share of episodes that arrive'
set yrange [-0.05:1.1]
set key center right
set grid
plot table using 1:3 with linespoints pt 7 lw 2 lc rgb '#0060ad' title 'prior sees the oar', \
     table using 1:4 with linespoints pt 5 lw 2 lc rgb '#dd5511' title 'prior sees everything', \
     table using 1:2 with linespoints pt 9 lw 2 lc rgb '#888888' title 'no prior'
