# Left: share of right options (part 2); right: log likelihood (part 4); from the example's output.
right = "< sed -n 's/^ *\\(one step\\|filtered\\|smoothed\\) [A-Z]* *\\([0-9]*\\) %/\"\\1\" \\2/p' docs/lessons/output/11_options.txt"
nats = "< sed -n 's/^ *\\(one Gaussian\\|mixture\\|options\\|the true model\\)\\( without memory\\)* *\\(-[0-9.]*\\)$/\"\\1\" \\3/p' docs/lessons/output/11_options.txt"
set style fill solid 0.85 noborder
set boxwidth 0.6
set grid y
unset key
set multiplot layout 1,2
set yrange [0:110]
set ylabel 'option recognised, % of steps'
plot right using 0:2:xtic(1) with boxes lc rgb '#0060ad', '' using 0:($2+4):2 with labels
set yrange [-3.1:-2.5]
set xrange [-0.6:3.6]
set ylabel 'log likelihood, nats per step'
set xtics rotate by -20
plot nats using 0:2:xtic(1) with points pt 7 ps 1.5 lc rgb '#dd5511', '' using 0:($2+0.04):2 with labels
unset multiplot
