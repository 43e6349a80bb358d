// The beginning of a link: who we are, what is agreed upon, and where we want to be.
#include "link.hpp"

#include <sapwood/amqp/errors.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view protocol_header = "AMQP\0\0\x9\x1"sv;

/// What a broker says when it ends the connection, as an error.
[[noreturn]] void throw_close(const amqp_connection_close_t& close, const std::string& tried) {
    throw std::system_error({close.reply_code, category()},
                            fmt::format("{}: {}", tried, view(close.reply_text)));
}

/// The smaller one, where 0 is no bound.
template <class Number>
[[nodiscard]] Number agreed(Number one, Number other) noexcept {
    return one == 0 || other == 0 ? std::max(one, other) : std::min(one, other);
}

[[nodiscard]] const char* name_of(login by) noexcept {
    return by == login::certificate ? "EXTERNAL" : "PLAIN";
}

/// `offered` is words, with spaces between them.
void require_mechanism(std::string_view offered, login by) {
    if (fmt::format(" {} ", offered).find(fmt::format(" {} ", name_of(by))) != offered.npos) {
        return;
    }
    throw std::system_error(
        errc::access_refused,
        by == login::certificate
            ? fmt::format(
                  "the broker takes no certificates as logins (EXTERNAL), only {}: RabbitMQ "
                  "needs its plugin rabbitmq_auth_mechanism_ssl, and EXTERNAL among its "
                  "auth_mechanisms",
                  offered)
            : fmt::format("the broker takes no passwords (PLAIN), only {}", offered));
}

} // namespace

task<> link::greet(const connection_options& options) {
    out_ += protocol_header;
    co_await send();
    const method greeting = co_await next_method(
        options.to.is_secured ? "a greeting" : "a greeting: does it want TLS (amqps://)?");
    if (greeting.id != AMQP_CONNECTION_START_METHOD) {
        throw std::system_error(errc::protocol_broken, "the broker does not begin with a greeting");
    }
    require_mechanism(view(greeting.as<amqp_connection_start_t>().mechanisms), options.to.by);
    answer_start(options);
    co_await send();

    method said = co_await next_method("an answer to our login");
    if (said.id == AMQP_CONNECTION_CLOSE_METHOD) {
        throw_close(said.as<amqp_connection_close_t>(),
                    options.to.by == login::certificate
                        ? "the broker refuses our certificate as a login"
                        : fmt::format("the broker refuses user '{}'", options.to.user));
    }
    if (said.id != AMQP_CONNECTION_TUNE_METHOD) {
        throw std::system_error(errc::protocol_broken, "the broker does not say its limits");
    }
    answer_tune(said.as<amqp_connection_tune_t>(), options);
    amqp_connection_open_t open{};
    open.virtual_host = bytes(options.to.vhost);
    put_method(out_, 0, AMQP_CONNECTION_OPEN_METHOD, &open);
    co_await send();

    said = co_await next_method("the virtual host");
    if (said.id == AMQP_CONNECTION_CLOSE_METHOD) {
        throw_close(said.as<amqp_connection_close_t>(),
                    fmt::format("the broker refuses the virtual host '{}'", options.to.vhost));
    }
    if (said.id != AMQP_CONNECTION_OPEN_OK_METHOD) {
        throw std::system_error(errc::protocol_broken, "the broker does not open the connection");
    }
}

task<method> link::next_method(const char* awaited) {
    while (true) {
        for (frame one; splitter_.next(rest_, one);) {
            if (one.type == AMQP_FRAME_METHOD && one.channel == 0) {
                co_return decoder_.decode_method(0, one.payload);
            }
            if (one.type != AMQP_FRAME_HEARTBEAT) {
                throw std::system_error(
                    errc::protocol_broken,
                    fmt::format("a frame of type {} came instead of {}", one.type, awaited));
            }
        }
        piece_ = co_await stream_->receive();
        rest_ = piece_.text();
        if (piece_.empty()) {
            throw std::system_error(
                errc::connection_lost,
                fmt::format("the broker hung up instead of saying {}", awaited));
        }
    }
}

void link::answer_start(const connection_options& options) {
    table capabilities;
    for (const char* each : {"authentication_failure_close", "basic.nack", "connection.blocked",
                             "consumer_cancel_notify", "publisher_confirms"}) {
        capabilities.push_back({each, true});
    }
    const table about = {{"product", "sapwood"},
                         {"platform", "C++"},
                         {"connection_name", options.name},
                         {"capabilities", std::move(capabilities)}};
    table_builder tables;
    const std::string response =
        options.to.by == login::certificate
            ? std::string()
            : fmt::format("{0}{1}{0}{2}", '\0', options.to.user, options.to.password);
    amqp_connection_start_ok_t answer{};
    answer.client_properties = tables.build(about);
    answer.mechanism = bytes(name_of(options.to.by));
    answer.response = bytes(response);
    answer.locale = bytes("en_US");
    put_method(out_, 0, AMQP_CONNECTION_START_OK_METHOD, &answer);
}

void link::answer_tune(const amqp_connection_tune_t& offered, const connection_options& options) {
    if (offered.frame_max != 0 && offered.frame_max < frame_bytes_least) {
        throw std::system_error(
            errc::protocol_broken,
            fmt::format("the broker wants frames of {} bytes at most, and {} is the least",
                        offered.frame_max, frame_bytes_least));
    }
    channel_max_ = agreed(offered.channel_max, std::uint16_t{2047});
    frame_bytes_max_ = agreed(offered.frame_max, options.frame_bytes_max);
    const auto seconds = static_cast<std::uint16_t>(options.heartbeat.count());
    const auto beat = options.heartbeat.count() == 0 ? seconds : agreed(offered.heartbeat, seconds);
    heartbeat_ = std::chrono::seconds(beat);
    splitter_.set_bytes_max(frame_bytes_max_);
    amqp_connection_tune_ok_t answer{};
    answer.channel_max = channel_max_;
    answer.frame_max = frame_bytes_max_;
    answer.heartbeat = beat;
    put_method(out_, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &answer);
}

} // namespace sapwood::amqp::detail
