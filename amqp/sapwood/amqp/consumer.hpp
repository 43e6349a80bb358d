// consumer: what a queue has, delivered message by message. Loop thread only.
#pragma once

#include <sapwood/amqp/message.hpp>

#include <sapwood/clock.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sapwood::amqp {

namespace detail {

struct consumer_state;

} // namespace detail

/// Goes on, on a new connection, where the old one broke: what was delivered by the old one and not
/// acknowledged comes again. Destroyed, it ends.
class consumer {
  public:
    explicit consumer(std::shared_ptr<detail::consumer_state> from) noexcept;
    consumer(consumer&&) noexcept;
    consumer& operator=(consumer&&) noexcept;
    ~consumer();

    [[nodiscard]] const std::string& tag() const noexcept;

    /// The next message. Empty once the consumer was cancelled, or its channel or connection closed
    /// by its owner. Throws std::system_error where the broker ended it (its queue is gone), or the
    /// connection is lost for good; `cancelled`, and has taken nothing then.
    [[nodiscard]] task<std::optional<delivery>> next();

    /// Appends messages to `out`, up to `max`: waits for the first as next() does, takes what is
    /// there, and waits for more, `linger` at most. Does not wait where a message comes alone, so
    /// long after the last batch that there are none to wait for; for what the prefetch does not
    /// let come before others are settled; nor on when the connection is lost: all are of one. Half
    /// of the prefetch for `max` has the broker send the other half while these are dealt with. How
    /// many: 0 is the end. Throws as next() does, and has taken nothing then; cancelled while it
    /// waits for more it returns those that it has, and the request meets the next wait.
    [[nodiscard]] task<std::size_t> next_many(std::vector<delivery>& out, std::size_t max,
                                              time_span linger = {});

    /// No more come. What was delivered and not taken by next() goes back to the queue. At once
    /// where there is no connection. Throws std::system_error, with std::errc::timed_out where the
    /// broker does not answer, and `cancelled`: it has ended then all the same.
    [[nodiscard]] task<> cancel();

  private:
    std::shared_ptr<detail::consumer_state> it_;
};

} // namespace sapwood::amqp
