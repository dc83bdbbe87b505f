# Probabilities of the next bell at green, for three histories and both priors, from the example's output.
table = "< sed -n 's/^after *\\([a-z]*\\), green/\\1/p' docs/lessons/output/09_memory.txt"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.85 noborder
set yrange [0:1.05]
set ytics 0.5
set grid y
set multiplot layout 1,2
set key top left samplen 1 maxrows 2
set title 'MLP prior, at green'
set ylabel 'probability of the next bell'
plot table using 2:xtic(1) lc rgb '#3366cc' title 'blue', '' using 3 lc rgb '#33aa55' title 'green', \
     '' using 4 lc rgb '#333333' title 'black', '' using 5 lc rgb '#cc3333' title 'red'
set title 'LSTM prior, at green'
unset key
unset ylabel
set xlabel ' '
plot table using 6:xtic(1) lc rgb '#3366cc', '' using 7 lc rgb '#33aa55', '' using 8 lc rgb '#333333', '' using 9 lc rgb '#cc3333'
unset multiplot
