# The button: share of episodes that find it, from the last table of the example's output.
table = "< awk '/steps +no prior/{on=1;next} on&&NF==4' docs/lessons/output/12_transfer.txt"
set xlabel 'environment steps on the new task'
set ylabel 'share of episodes that find the button'
set yrange [-0.05:1.1]
set key center right
set grid
plot table using 1:3 with linespoints pt 7 lw 2 lc rgb '#0060ad' title 'alpha 0.02', \
     table using 1:4 with linespoints pt 5 lw 2 lc rgb '#dd5511' title 'alpha 0.3', \
     table using 1:2 with linespoints pt 9 lw 2 lc rgb '#888888' title 'no prior'
