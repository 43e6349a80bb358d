// open_queue_channel: a channel for who needs a queue and does not mind what properties it has.
// Loop thread only.
#pragma once

#include <sapwood/amqp/channel.hpp>
#include <sapwood/amqp/connection.hpp>

#include <sapwood/task.hpp>

#include <string>

namespace sapwood::amqp {

/// A channel, and the queue is there: as it is where it was, otherwise made, durable. Throws as
/// open_channel and declare_queue do, and leaves no channel then. `on` must outlive the task.
[[nodiscard]] task<channel> open_queue_channel(connection& on, std::string queue);

} // namespace sapwood::amqp
