// The same from C++11: RAII around the C object, exceptions around its errors.
#include "bprior.h"
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <vector>

/* [agent] */
struct agent_deleter {
    void operator()(bp_agent *agent) const { bp_agent_destroy(agent); }
};

class Agent {
    std::unique_ptr<bp_agent, agent_deleter> agent_;

  public:
    explicit Agent(const char *path) {
        bp_agent *agent = nullptr;
        bp_error error;
        if (bp_agent_load(&agent, path, nullptr, &error) != BP_OK) throw std::runtime_error(error.text);
        agent_.reset(agent);
    }
    void begin_episode() { bp_agent_reset(agent_.get()); }
    std::vector<bp_real> act(const std::vector<bp_real> &observation) {
        if (observation.size() != agent_->spec.observation_size) throw std::invalid_argument("observation size");
        std::vector<bp_real> action(agent_->spec.action_size);
        const bp_status status = bp_agent_act(agent_.get(), action.data(), observation.data());
        if (status != BP_OK) throw std::runtime_error(bp_status_str(status));
        return action;
    }
};
/* [agent] */

int main(int argc, char **argv) {
    try {
        Agent agent(argc > 1 ? argv[1] : "policy.safetensors");
        agent.begin_episode();
        std::printf("torque %.2f\n", static_cast<double>(agent.act({-1, 0, 1})[0]));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
