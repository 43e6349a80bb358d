// connection: to a broker, or to one of a cluster's. Where it breaks it is made again, with all
// that was on it. Loop thread only.
#pragma once

#include <sapwood/amqp/address.hpp>
#include <sapwood/amqp/channel.hpp>

#include <sapwood/clock.hpp>
#include <sapwood/task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sapwood::amqp {

namespace detail {

class connection_state;

} // namespace detail

/// What has happened to a connection, for who wants to log it.
struct connection_event {
    enum class kind : std::uint8_t {
        /// It is up, and all that was on it before is again.
        up,
        /// It is lost, or an attempt to make it again has failed: `text` says why.
        down,
        /// The broker takes no messages now (its memory or its disk is short): `text` is its
        /// reason.
        blocked,
        unblocked,
        /// A message was longer than its consumer takes, and was rejected: `text` says which.
        rejected,
    };

    kind what = kind::up;
    std::string text;
};

struct connection_options {
    address to;
    /// How the broker's tools show this connection.
    std::string name = "sapwood";
    /// The longest silence that each side takes for life, in whole seconds; a peer that says
    /// nothing for two of them is gone. The broker may want less. 0: none, and a peer that
    /// vanished is noticed by whoever sends to it.
    std::chrono::seconds heartbeat{20};
    /// For an attempt to connect to one host, its greeting included.
    clock::duration connect_within = std::chrono::seconds(5);
    /// For each declaration and the like, and for close().
    clock::duration answer_within = std::chrono::seconds(30);
    /// Whether it is made again where it breaks.
    bool reconnect = true;
    /// After the n-th failure in a row the next attempt is made after a random time between 0 and
    /// `retry_first` doubled n times, but `retry_max` at most.
    clock::duration retry_first = std::chrono::milliseconds(100);
    clock::duration retry_max = std::chrono::seconds(10);
    /// Of each channel: messages that are published and not confirmed, and their bytes. One
    /// message may be larger than that, alone.
    std::size_t window_messages = 4096;
    std::size_t window_bytes = 16u << 20;
    /// The longest body that a consumer takes, unless its own options say otherwise
    /// (consume_options::body_bytes_max). A longer one is dropped as it comes, and rejected.
    std::size_t message_bytes_max = 128u << 20;
    /// The largest frame that we want to send or get; the broker may want less. 4096 at least.
    std::uint32_t frame_bytes_max = 128u << 10;
    /// Told on the loop, until the connection is closed or destroyed; must not throw, nor destroy
    /// it.
    std::function<void(const connection_event&)> on_event = {};
};

class connection {
  public:
    connection() = default;
    explicit connection(std::shared_ptr<detail::connection_state> from) noexcept;
    connection(connection&&) noexcept = default;
    connection& operator=(connection&&) noexcept;

    /// Without a close() before: cut off, and channels are told that it is closed.
    ~connection();

    /// Throws std::system_error, and `cancelled`.
    [[nodiscard]] task<channel> open_channel();

    /// Waits for what is unconfirmed on its channels, as long as `answer_within` and the connection
    /// last, then says goodbye. Consumers end. Afterwards, and the second time, nothing. Throws
    /// `cancelled`: before the goodbye it has done nothing then, behind it the connection is over.
    [[nodiscard]] task<> close();

    /// There is a connection now, and all that was on it before is again.
    [[nodiscard]] bool is_up() const noexcept;

    /// The broker takes no messages now.
    [[nodiscard]] bool is_blocked() const noexcept;

    /// How often it was made, the first time included.
    [[nodiscard]] std::uint64_t times_up() const noexcept;

  private:
    std::shared_ptr<detail::connection_state> it_;
};

/// Connects, trying each host once. Throws std::system_error with what each one said: an amqp::errc
/// where it was the broker (a password that is wrong), otherwise what the network said;
/// `cancelled`. Throws std::invalid_argument that names the option, or says what is wrong with the
/// URL, at once.
[[nodiscard]] task<connection> connect(std::string_view url);
[[nodiscard]] task<connection> connect(const connection_options& options);

} // namespace sapwood::amqp
