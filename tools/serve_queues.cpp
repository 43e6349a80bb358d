#include "serve_queues.hpp"

#include <collector/named_log.hpp>

#include <cstdlib>
#include <fmt/format.h>
#include <stdexcept>

namespace sapwood::tools {

void serve_queues::add_options(CLI::App& to) {
    to.add_option("--amqp", broker_,
                  "RabbitMQ: amqp://USER:PASSWORD@HOST/VHOST, or a file whose first line that is; "
                  "by default what $SAPWOOD_AMQP_URL says")
        ->type_name("URL|FILE");
    to.add_option("--queue", queues_,
                  "Take the messages of this queue of it, and acknowledge them when they are on "
                  "disk")
        ->type_name("[NAME=]QUEUE");
    prefetch_option_ = to.add_option(
        "--prefetch", prefetch_, "Messages of a queue that are under way at a time, 1 to 65535");
    prefetch_option_->check(CLI::Range(1, 65535))->type_name("NUMBER")->capture_default_str();
}

std::vector<collector::queue_options> serve_queues::chosen() const {
    std::vector<collector::queue_options> all;
    if (queues_.empty()) {
        if (!broker_.empty()) {
            throw std::invalid_argument("--amqp: say which queue of it: --queue NAME");
        }
        if (prefetch_option_->count() != 0) {
            throw std::invalid_argument("--prefetch is for queues: say which: --queue NAME");
        }
        return all;
    }
    const char* const known = std::getenv("SAPWOOD_AMQP_URL");
    const std::string broker = broker_.empty() && known != nullptr ? known : broker_;
    if (broker.empty()) {
        throw std::invalid_argument(
            "--queue: say which broker's: --amqp amqp://USER:PASSWORD@HOST, "
            "or the file that holds this, or $SAPWOOD_AMQP_URL");
    }
    if (!collector::can_consume_queues()) {
        throw std::invalid_argument("--queue: this program was built without librabbitmq");
    }
    const std::string url = collector::broker_url(broker);
    for (const std::string& each : queues_) {
        collector::queue_options made{.url = url, .queue = each, .log = {}, .prefetch = prefetch_};
        if (const auto equals = each.find('=');
            equals != each.npos && collector::is_log_name(each.substr(0, equals))) {
            made.log = each.substr(0, equals);
            made.queue = each.substr(equals + 1);
        }
        all.push_back(std::move(made));
    }
    return all;
}

} // namespace sapwood::tools
