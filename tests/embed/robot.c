/* A robot's main loop in C: a policy from a file, no allocation per step. Usage: robot policy.safetensors */
#include "bprior.h"
#include <stdio.h>

/* [loop] */
static void read_sensors(bp_real *observation, int tick) { /* yours */
    observation[0] = BP_R(-1), observation[1] = BP_R(0), observation[2] = BP_R(tick);
}

static void drive_motors(const bp_real *action) { /* yours */
    printf("torque %.2f\n", (double)action[0]);
}

int main(int argc, char **argv) {
    bp_agent *agent = NULL;
    bp_error error;
    bp_real observation[3], action[1];
    int tick;
    if (argc < 2 || bp_agent_load(&agent, argv[1], NULL, &error) != BP_OK) {
        fprintf(stderr, "%s\n", argc < 2 ? "usage: robot policy.safetensors" : error.text);
        return 1;
    }
    bp_agent_reset(agent); /* an episode begins: forget everything */
    for (tick = 0; tick < 3; tick++) {
        read_sensors(observation, tick);
        if (bp_agent_act(agent, action, observation) == BP_OK) drive_motors(action); /* else: a sensor said NaN */
    }
    bp_agent_destroy(agent);
    return 0;
}
/* [loop] */
