# Part 2 of the example's output: E7 and E11 in turn.
table = "< awk '/^2\\./{on=1} /^3\\./{on=0} on&&NF==5&&$1+0==$1' docs/lessons/output/07_distral.txt"
set logscale x 2
set xrange [0.9:9]
set xtics (1,2,4,8)
set xlabel 'round'
set yrange [-0.8:1.15]
set key outside right
set grid
plot table using 1:5 with linespoints pt 9 lw 2 lc rgb '#dd5511' title 'nats away', \
     table using 1:4 with linespoints pt 5 lw 2 lc rgb '#33aa55' title 'reward', \
     table using 1:3 with linespoints pt 7 lw 2 lc rgb '#0060ad' title 'L after E11', \
     table using 1:2 with linespoints pt 6 lw 2 dt 2 lc rgb '#0060ad' title 'L after E7'
