// Built where there is no client for AMQP.
#include "send_target.hpp"

#include <stdexcept>

namespace sapwood::tools {

bool has_amqp_target() noexcept {
    return false;
}

std::unique_ptr<send_target> make_amqp(const amqp_send_options&) {
    throw std::invalid_argument("--amqp: this program was built without librabbitmq");
}

} // namespace sapwood::tools
