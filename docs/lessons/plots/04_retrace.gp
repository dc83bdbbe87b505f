# Part 1 of the example's output: largest error of Q against the number of sweeps.
table = "< awk '/^1\\./{on=1} /^2\\./{on=0} on&&NF==5&&$1+0==$1' docs/lessons/output/04_retrace.txt"
set logscale y
set format y '10^{%T}'
set xlabel 'sweeps'
set ylabel 'largest error of Q'
set yrange [8e-5:400]
set xrange [0:32]
set key center right
set grid
plot table using 1:($2 > 0 ? $2 : 1/0) with linespoints pt 7 lw 2 lc rgb '#99bbdd' title 'lambda 0', \
     table using 1:($3 > 0 ? $3 : 1/0) with linespoints pt 7 lw 2 lc rgb '#4488cc' title 'lambda 0.5', \
     table using 1:($4 > 0 ? $4 : 1/0) with linespoints pt 7 lw 2 lc rgb '#003366' title 'lambda 1', \
     table using 1:5 with linespoints pt 5 lw 2 lc rgb '#dd5511' title 'lambda 1, no correction'
