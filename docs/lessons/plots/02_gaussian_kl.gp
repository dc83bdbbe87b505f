# Errors of the sampled average and of the integral, from the second table of the example's output.
file = 'docs/lessons/output/02_gaussian_kl.txt'
table = "< awk '/^samples/{on=1;next} on&&NF==5' ".file
set logscale xy
set xlabel 'samples, or intervals'
set ylabel 'distance from 1/2'
set yrange [2e-4:1]
set xrange [3:200000]
set key top right
set grid
plot table using 1:(abs($2-0.5)) with linespoints pt 7 lw 2 lc rgb '#dd5511' title 'average of samples', \
     table using 1:3 with lines dt 2 lw 2 lc rgb '#dd9966' title 'its error bar', \
     table using 4:(abs($5-0.5) > 0 ? abs($5-0.5) : 2e-4) with linespoints pt 5 lw 2 lc rgb '#0060ad' title 'integral (right to all printed digits from 16 on)'
