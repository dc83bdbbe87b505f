# Part 3 of the example's output: return against information, one point per price.
table = "< awk '/^3\\./{on=1} /^4\\./{on=0} on&&$1+0==$1' docs/lessons/output/08_bottleneck.txt"
set xlabel 'information about the goal, nats an episode'
set ylabel 'return'
set xrange [-0.02:0.78]
set yrange [0.4:0.92]
set grid
unset key
set arrow from log(2),0.4 to log(2),0.92 nohead dt 2 lc rgb '#888888'
set label 'one bit' at log(2)+0.008,0.44 tc rgb '#888888'
plot table using 3:2 with linespoints pt 7 lw 2 lc rgb '#0060ad', \
     table using 3:($3 < 0.68 ? $2 : 1/0):(sprintf('%g', $1)) with labels offset 1.6,-0.9 tc rgb '#0060ad', \
     keyentry with points pt 7 lc rgb '#0060ad' title 'numbers: price of a nat'
