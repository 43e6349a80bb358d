// Built where there is no client for AMQP.
#include "queue_source.hpp"

#include <stdexcept>

namespace sapwood::collector {

bool can_consume_queues() noexcept {
    return false;
}

void require_valid(const queue_options& options) {
    throw std::invalid_argument("queue " + as_word(options.queue) +
                                ": this program was built without librabbitmq, and consumes none");
}

bool is_one_queue(const queue_options&, const queue_options&) {
    return false;
}

std::unique_ptr<queue_source> make_queue_source(const queue_options& options, intake&, named_log&,
                                                queue_status&) {
    require_valid(options);
    return nullptr;
}

} // namespace sapwood::collector
