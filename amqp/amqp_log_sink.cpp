#include <sapwood/amqp/amqp_log_sink.hpp>

#include "connection_state.hpp"

#include <sapwood/amqp/errors.hpp>
#include <sapwood/amqp/queue_channel.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <memory>
#include <stdexcept>
#include <utility>

namespace sapwood {

namespace {

/// Of the window, and published between two looks at what has failed: together no more than a
/// channel keeps failures.
constexpr std::size_t messages_at_a_time = 512;

void require_valid(const amqp_log_sink_options& options) {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw std::invalid_argument(fmt::format("amqp_log_sink_options: {}", what));
        }
    };
    require(!options.connection.to.hosts.empty(), "url, or connection.to, is needed");
    require(!options.exchange.empty() || !options.routing_key.empty(),
            "routing_key is the queue where there is no exchange");
    for (const std::string* const each :
         {&options.exchange, &options.routing_key, &options.content_type, &options.app_id}) {
        require(each->size() <= 255,
                "exchange, routing_key, content_type and app_id have 255 bytes at most");
    }
    require(options.give_up_after > clock::duration::zero(), "give_up_after must be more than 0");
    amqp::detail::require_valid(options.connection);
}

} // namespace

amqp_log_sink::amqp_log_sink(amqp_log_sink_options options)
    : options_(std::move(options)),
      backoff_(options_.connection.retry_first, options_.connection.retry_max) {
    if (!options_.url.empty()) {
        options_.connection.to = amqp::parse_address(options_.url);
        options_.url.clear();
    }
    require_valid(options_);
    options_.connection.answer_within =
        std::min(options_.connection.answer_within, options_.give_up_after);
    options_.connection.window_messages =
        std::min(options_.connection.window_messages, messages_at_a_time);
    options_.connection.reconnect = true;
}

amqp_log_sink::~amqp_log_sink() = default;

std::string amqp_log_sink::describe() const {
    const std::string broker = options_.connection.to.to_string();
    return options_.exchange.empty() ? fmt::format("{}, queue {}", broker, options_.routing_key)
                                     : fmt::format("{}, exchange {}", broker, options_.exchange);
}

task<> amqp_log_sink::open() {
    if (options_.must_connect) {
        co_await connect();
    }
}

task<> amqp_log_sink::open_in_child() {
    // The parent's connection has tasks on the parent's loop: it is left as it is, for ever.
    std::construct_at(&channel_);
    std::construct_at(&mq_);
    std::construct_at(&held_);
    std::construct_at(&pieces_);
    is_connected_ = false;
    has_channel_ = false;
    last_failure_ = {};
    return open();
}

task<> amqp_log_sink::close() {
    if (std::exchange(is_connected_, false)) {
        co_await mq_.close();
    }
    has_channel_ = false;
    channel_ = {};
    mq_ = {};
}

/// Where it has not succeeded yet; what breaks later the connection makes again by itself.
task<> amqp_log_sink::connect() {
    if (is_connected_) {
        co_return;
    }
    event_loop& loop = event_loop::current();
    if (last_failure_ && loop.now() < next_attempt_) {
        throw std::system_error(last_failure_, "it could not be reached");
    }
    try {
        mq_ = co_await timeout(options_.give_up_after, amqp::connect(options_.connection));
    } catch (const std::system_error& error) {
        last_failure_ = error.code();
        next_attempt_ = saturating_add(loop.now(), backoff_.failed());
        throw;
    }
    last_failure_ = {};
    backoff_.succeeded();
    is_connected_ = true;
}

/// Where there is none, or the broker has closed the one before.
task<> amqp_log_sink::open_channel() {
    if (!options_.exchange.empty() || !options_.declare) {
        channel_ = co_await mq_.open_channel();
    } else {
        channel_ = co_await amqp::open_queue_channel(mq_, options_.routing_key);
    }
    has_channel_ = true;
}

task<> amqp_log_sink::write(std::span<const char> lines) {
    const auto shielded = co_await shield();
    hold({lines.data(), lines.size()});
    failure_ = {};
    std::exception_ptr why;
    try {
        co_await connect();
        co_await timeout(options_.give_up_after, publish_held());
    } catch (const std::system_error& error) {
        failure_ = error.code();
        why = std::current_exception();
    }
    look_at_confirms();
    const std::size_t kept = forget_confirmed();
    if (!failure_) {
        co_return;
    }
    if (kept != 0) {
        throw write_error(failure_, "publishing", kept);
    }
    if (why) {
        std::rethrow_exception(why);
    }
    throw std::system_error(failure_, "publishing");
}

/// What has failed before comes again in front: that part is known.
void amqp_log_sink::hold(std::string_view lines) {
    if (!lines.starts_with(held_)) {
        held_.clear();
        pieces_.clear();
    }
    std::size_t at = held_.size();
    held_ = lines;
    while (at < held_.size()) {
        at = std::min(held_.find('\n', at), held_.size() - 1) + 1;
        pieces_.push_back({.end = at});
    }
}

task<> amqp_log_sink::publish_held() {
    if (has_channel_ && channel_.is_closed()) {
        look_at_confirms();
    }
    if (!has_channel_) {
        co_await open_channel();
    }
    std::size_t begin = 0;
    std::size_t published = 0;
    for (piece& each : pieces_) {
        const std::string_view line = std::string_view(held_).substr(begin, each.end - 1 - begin);
        begin = each.end;
        if (each.number != amqp::publication::none) {
            continue;
        }
        std::string_view type = options_.content_type;
        if (type.empty()) {
            type = line.starts_with('{') ? "application/json" : "text/plain";
        }
        const amqp::publish_options how{.content_type = type, .app_id = options_.app_id};
        for (;;) {
            each.number =
                channel_.publish_nowait(options_.exchange, options_.routing_key, line, how);
            if (each.number != amqp::publication::none) {
                break;
            }
            co_await channel_.room();
        }
        if (++published % messages_at_a_time == 0) {
            note_failures();
        }
    }
    co_await channel_.confirmed();
}

/// What no queue has is to be published again.
void amqp_log_sink::note_failures() {
    for (const amqp::failed_publication& each : channel_.take_failures()) {
        if (!failure_) {
            failure_ = each.why;
        }
        const auto failed = std::ranges::find(pieces_, each.number, &piece::number);
        if (failed != pieces_.end()) {
            failed->number = amqp::publication::none;
        }
    }
}

void amqp_log_sink::look_at_confirms() {
    if (!has_channel_) {
        return;
    }
    note_failures();
    const amqp::publication settled = channel_.settled();
    for (piece& each : pieces_) {
        each.is_confirmed =
            each.is_confirmed || (each.number != amqp::publication::none && each.number <= settled);
    }
    // The numbers of another channel would begin anew.
    has_channel_ = !channel_.is_closed();
}

/// How many bytes in front are.
std::size_t amqp_log_sink::forget_confirmed() {
    const auto first = std::ranges::find(pieces_, false, &piece::is_confirmed);
    const std::size_t bytes = first == pieces_.begin() ? 0 : std::prev(first)->end;
    pieces_.erase(pieces_.begin(), first);
    for (piece& each : pieces_) {
        each.end -= bytes;
    }
    held_.erase(0, bytes);
    return bytes;
}

} // namespace sapwood
