// Why something failed, as a broker says it (its reply codes) or as the client found out. All of it
// is thrown as std::system_error of this category, with the broker's own words in the text.
#pragma once

#include <system_error>

namespace sapwood::amqp {

enum class errc : int {
    // --- the broker's reply codes ---
    /// A queue that refuses more (x-overflow), or a message too large.
    content_too_large = 311,
    /// No queue takes a message of this exchange and routing key: it was returned.
    no_route = 312,
    /// An operator, or the broker's end.
    connection_forced = 320,
    /// There is no such virtual host.
    invalid_path = 402,
    /// Name or password are wrong, or the user may not do this.
    access_refused = 403,
    not_found = 404,
    /// Somebody else uses it exclusively.
    resource_locked = 405,
    /// It exists with other properties than were asked for, or a delivery was not acknowledged in
    /// the broker's time.
    precondition_failed = 406,
    frame_error = 501,
    syntax_error = 502,
    command_invalid = 503,
    channel_error = 504,
    unexpected_frame = 505,
    resource_error = 506,
    not_allowed = 530,
    not_implemented = 540,
    internal_error = 541,

    // --- the client's ---
    /// The connection broke, and is not made again.
    connection_lost = 1000,
    /// The connection or the channel was closed by its owner.
    closed,
    /// Nothing came for two heartbeats.
    no_heartbeat,
    /// What came is not AMQP 0-9-1, or breaks its rules.
    protocol_broken,
    /// The broker ended the consumer: its queue is gone.
    consumer_ended,
    /// The broker has no room for another channel.
    no_channel_left,
    /// What TLS is to be done with (a certificate, a key) cannot be used.
    tls_unusable,
    /// The broker's certificate is not believed, or is for somebody else.
    not_trusted,
    /// No connection by TLS came about, for another reason.
    tls_failed,
};

[[nodiscard]] const std::error_category& category() noexcept;
[[nodiscard]] std::error_code make_error_code(errc value) noexcept;

} // namespace sapwood::amqp

template <>
struct std::is_error_code_enum<sapwood::amqp::errc> : std::true_type {};
