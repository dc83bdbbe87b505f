/* two_rooms.c - Distral on two rooms (in the making: so far the map and its exact values). */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "../cli.h"
#include "paper.h"

int main(int argc, char **argv) {
    cli_options options = cli_defaults("two_rooms", "Exact values of a two-room grid world.", 1000);
    bp_gridworld grid;
    bp_error error;
    double V[64];
    FILE *file;
    size_t s;
    int code;
    options.seeds = 5;
    options.no_run = true;
    code = cli_parse(&options, argc, argv);
    if (code >= 0) return code;
    if (bp_file_make_directory(options.out, &error) != BP_OK ||
        bp_gridworld_create(&grid, "#############\n"
                                   "#...#####...#\n"
                                   "#...     ..G#\n"
                                   "#...#####...#\n"
                                   "#############\n",
                            NULL, NULL, &error) != BP_OK ||
        bp_mdp_value_iteration(V, NULL, &grid.mdp, 1e-10, NULL, &error) != BP_OK) {
        fprintf(stderr, "two_rooms: %s\n", error.text);
        return 1;
    }
    file = paper_settings(&options);
    if (file == NULL) return 1;
    fclose(file);
    file = paper_file(options.out, "values.csv");
    if (file == NULL) return 1;
    fprintf(file, "row,column,value\n");
    for (s = 0; s < grid.mdp.S; s++)
        fprintf(file, "%u,%u,%g\n", (unsigned)(grid.cell[s] / grid.cols), (unsigned)(grid.cell[s] % grid.cols), V[s]);
    fclose(file);
    file = paper_file(options.out, "two_rooms.gp");
    if (file == NULL) return 1;
    fprintf(file, "set datafile separator ','\nset terminal pngcairo size 800,400\nset output 'two_rooms.png'\n"
                  "plot 'values.csv' every ::1 using 2:(-$1):3 with points pt 7 ps 4 palette notitle\n");
    fclose(file);
    paper_plot(options.out, "two_rooms");
    bp_gridworld_destroy(&grid);
    return 0;
}
