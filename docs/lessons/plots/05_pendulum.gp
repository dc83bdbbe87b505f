# Ten seeds of `05_pendulum --all`: the table that the README reports.
table = "< sed -n 's/^seed *\\([0-9]*\\): *[-0-9.]* before, *\\([-0-9.]*\\) after.*at *\\([0-9]*\\)/\\1 \\2 \\3/p' docs/results/pendulum/table.txt"
set xlabel 'seed'
set ylabel 'mean return, 100 episodes'
set y2label 'first above -200 at step'
set xrange [0.3:10.7]
set yrange [-220:-130]
set y2range [0:5000]
set ytics nomirror
set y2tics
set xtics 1
set key top right horizontal
set arrow from 0.3,-200 to 10.7,-200 nohead dt 2 lw 1.5 lc rgb '#888888'
plot table using 1:2 with points pt 7 ps 1.3 lc rgb '#0060ad' title 'after 20000 steps', \
     table using 1:3 axes x1y2 with points pt 9 ps 1.3 lc rgb '#dd5511' title 'first above -200 (right axis)'
