#include <sapwood/amqp/queue_channel.hpp>

#include <sapwood/amqp/errors.hpp>

#include <system_error>
#include <utility>

namespace sapwood::amqp {

task<channel> open_queue_channel(connection& on, std::string queue) {
    const queue_options present{.name = queue, .passive = true};
    const queue_options made{.name = std::move(queue)};
    channel opened = co_await on.open_channel();
    bool is_missing = false;
    try {
        (void)co_await opened.declare_queue(present);
    } catch (const std::system_error& failure) {
        is_missing = failure.code() == errc::not_found;
        if (!is_missing) {
            throw;
        }
    }
    if (is_missing) {
        opened = co_await on.open_channel(); // the broker has closed the one before
        (void)co_await opened.declare_queue(made);
    }
    co_return opened;
}

} // namespace sapwood::amqp
