set datafile separator ','
set terminal pngcairo enhanced size 1500,760 font 'sans,13'
set output 'two_rooms.png'
set multiplot
set lmargin at screen 0.065
set rmargin at screen 0.53
set bmargin at screen 0.1
set tmargin at screen 0.93
set title 'ten tasks in two rooms: mean of 5 seeds, band: standard deviation'
set xlabel 'environment steps, all tasks together'
set ylabel 'discounted return, mean over tasks'
set format x '%.0s%c'
set grid lc rgb '#dddddd'
set key bottom right reverse Left
set xrange [0:1000000]
set yrange [-3:0.7]
set style fill transparent solid 0.2 noborder
plot 'curves.csv' every ::1 using 1:($2-$3):($2+$3) with filledcurves lc rgb '#0060ad' notitle, '' every ::1 using 1:2 with lines lw 3 lc rgb '#0060ad' title 'one learned prior, {/Symbol b} = 5', 0.35419 with lines dt 3 lw 2 lc rgb '#0060ad' notitle, 'curves.csv' every ::1 using 1:($6-$7):($6+$7) with filledcurves lc rgb '#dd5511' notitle, '' every ::1 using 1:6 with lines lw 3 lc rgb '#dd5511' title 'each task alone, {/Symbol b} = 5', 0.104307 with lines dt 3 lw 2 lc rgb '#dd5511' notitle, 'curves.csv' every ::1 using 1:($10-$11):($10+$11) with filledcurves lc rgb '#66aadd' notitle, '' every ::1 using 1:10 with lines lw 3 lc rgb '#66aadd' title 'one learned prior, {/Symbol b} = 20', 0.399956 with lines dt 3 lw 2 lc rgb '#66aadd' notitle, 'curves.csv' every ::1 using 1:($14-$15):($14+$15) with filledcurves lc rgb '#f0a860' notitle, '' every ::1 using 1:14 with lines lw 3 lc rgb '#f0a860' title 'each task alone, {/Symbol b} = 20', 0.383933 with lines dt 3 lw 2 lc rgb '#f0a860' notitle, NaN with lines dt 3 lw 2 lc rgb '#666666' title 'return at the exact regularised optimum', 0.400675 with lines dt 2 lw 2 lc rgb '#222222' title 'best possible return'
unset key
unset grid
unset xlabel
unset ylabel
unset xtics
unset ytics
unset border
set xrange [0.4:11.6]
set yrange [-3.6:-0.4]
set style fill solid 1.0 border lc rgb '#bbbbbb'
set object 1 rect from graph 0,0 to graph 1,1 behind fc rgb '#8c8c8c' fs solid noborder
set lmargin at screen 0.57
set rmargin at screen 0.985
set bmargin at screen 0.675
set tmargin at screen 0.93
set title 'the prior when an episode begins (seed 1)' offset 0,-0.7
plot 'cells.csv' every ::1 using 1:(-$2):(0.5):(0.5):($3 > 0 ? 0xdff0d8 : 0xf6f6f6) with boxxyerror lc rgb variable, 'arrows.csv' every ::1 using (($1 == 0 && $4 == 0) ? $2 : NaN):(-$3):(0.2*sqrt($7)) with circles fill solid 1.0 noborder lc rgb '#999999', '' every ::1 using (($1 == 0 && $4 > 0 && $7 > 0.02) ? $2 : NaN):(-$3):5:6 with vectors filled head size 0.12,25 lw 2.5 lc rgb '#0060ad'
set bmargin at screen 0.36
set tmargin at screen 0.615
set title 'after a step LEFT (seed 1)' offset 0,-0.7
plot 'cells.csv' every ::1 using 1:(-$2):(0.5):(0.5):($3 > 0 ? 0xdff0d8 : 0xf6f6f6) with boxxyerror lc rgb variable, 'arrows.csv' every ::1 using (($1 == 4 && $4 == 0) ? $2 : NaN):(-$3):(0.2*sqrt($7)) with circles fill solid 1.0 noborder lc rgb '#999999', '' every ::1 using (($1 == 4 && $4 > 0 && $7 > 0.02) ? $2 : NaN):(-$3):5:6 with vectors filled head size 0.12,25 lw 2.5 lc rgb '#0060ad'
set bmargin at screen 0.045
set tmargin at screen 0.3
set title 'after a step RIGHT (seed 1)' offset 0,-0.7
plot 'cells.csv' every ::1 using 1:(-$2):(0.5):(0.5):($3 > 0 ? 0xdff0d8 : 0xf6f6f6) with boxxyerror lc rgb variable, 'arrows.csv' every ::1 using (($1 == 5 && $4 == 0) ? $2 : NaN):(-$3):(0.2*sqrt($7)) with circles fill solid 1.0 noborder lc rgb '#999999', '' every ::1 using (($1 == 5 && $4 > 0 && $7 > 0.02) ? $2 : NaN):(-$3):5:6 with vectors filled head size 0.12,25 lw 2.5 lc rgb '#0060ad'
set label 1 'arrow: probability of a move     dot: of staying     green: a goal of one of the ten tasks' at screen 0.777,0.022 center font 'sans,11'
unset title
unset object 1
set bmargin at screen 0.0
set tmargin at screen 0.01
plot NaN
unset multiplot
