# Left: the densities of part 1, by their formulas (the nearest Gaussian has the mixture's mean and variance). Right: the gap of part 3.
table = "< sed -n 's/^ *after *\\([0-9]*\\) steps: gap \\([0-9.]*\\)/\\1 \\2/p' docs/lessons/output/10_latent_prior.txt"
normal(x, m, s) = exp(-(x-m)**2/(2*s*s))/(s*sqrt(2*pi))
broad = sqrt(0.6**2 + 0.2**2)
set multiplot layout 1,2
set grid
set samples 400
set xlabel 'action'
set ylabel 'density'
set xrange [-2:2]
set yrange [0:1.35]
set key top center
plot 0.5*normal(x,-0.6,0.2) + 0.5*normal(x,0.6,0.2) with lines lw 3 lc rgb '#0060ad' title 'the tasks: left or right', \
     normal(x,0,broad) with lines lw 3 dt 2 lc rgb '#dd5511' title 'nearest Gaussian'
set xlabel 'steps of f'
set ylabel 'gap of the bound, nats'
set xrange [0.5:2000]
set yrange [1e-4:3]
set logscale xy
set format y '10^{%T}'
unset key
plot table using ($1 > 0 ? $1 : 0.7):2 with linespoints pt 7 lw 2 lc rgb '#0060ad'
unset multiplot
