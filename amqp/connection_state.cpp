#include "connection_state.hpp"

#include "link_tls.hpp"

#include <sapwood/amqp/errors.hpp>

#include <sapwood/activity.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <stdexcept>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

/// One that breaks before, or before all is on it again, counts as a failure, too: attempts that
/// follow come later and later.
constexpr clock::duration good_after = std::chrono::seconds(10);

/// What is to be sent besides messages and what settles deliveries: declarations, and answers to a
/// broker that asks.
constexpr std::size_t answers_bytes_max = 4u << 20;

} // namespace

void require_valid(const connection_options& options) {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw std::invalid_argument(fmt::format("amqp::connection_options: {}", what));
        }
    };
    require(!options.to.hosts.empty(), "to has no host");
    require(options.heartbeat.count() >= 0 && options.heartbeat.count() <= 65535,
            "heartbeat must be 0 to 65535 seconds");
    require(options.window_messages > 0, "window_messages must be at least 1");
    require(options.window_bytes > 0, "window_bytes must be at least 1");
    require(options.frame_bytes_max >= frame_bytes_least, "frame_bytes_max must be at least 4096");
    require(options.retry_first.count() >= 0 && options.retry_max.count() >= 0,
            "retry_first and retry_max must not be negative");
    require(options.to.user.size() + options.to.password.size() < 1024 &&
                options.to.vhost.size() < 256,
            "to has a user, password or virtual host that is too long");
    require_securable(options.to);
}

connection_state::connection_state(connection_options options)
    : options_(std::move(options)),
      backoff_(options_.retry_first, options_.retry_max) {
    require_valid(options_);
}

task<> connection_state::begin() {
    const auto self = shared_from_this();
    link_ = co_await try_hosts();
    frame_bytes_max_ = link_->frame_bytes_max();
    is_restored_ = true;
    times_up_ = 1;
    keeper_ = spawn(keep(), {.name = "amqp connection"});
}

/// Each once, beginning with the one that was the last to do.
task<std::unique_ptr<link>> connection_state::try_hosts() {
    std::error_code first;
    std::string texts;
    const std::size_t hosts = options_.to.hosts.size();
    for (std::size_t i = 0; i < hosts; ++i) {
        const std::size_t at = (host_ + i) % hosts;
        const host_port& each = options_.to.hosts[at];
        try {
            auto made = co_await timeout(options_.connect_within, link::make(each, options_));
            if (frame_bytes_max_ > made->frame_bytes_max()) {
                throw std::system_error(errc::protocol_broken,
                                        "it wants smaller frames than the broker before");
            }
            host_ = at;
            co_return made;
        } catch (const std::system_error& failure) {
            first = first ? first : failure.code();
            texts += fmt::format("{}{}:{}: {}", texts.empty() ? "" : "; ", each.host, each.port,
                                 failure.what());
        }
    }
    throw std::system_error(
        first, fmt::format("cannot connect to {} ({})", options_.to.to_string(), texts));
}

/// The connection's own task, until it is over.
task<> connection_state::keep() {
    const auto self = shared_from_this();
    // It serves for longer than any action in which somebody has connected.
    if (auto*& doing = sapwood::detail::current_activity_place(); doing != nullptr) {
        doing->let_go(doing);
    }
    std::error_code why = errc::closed;
    std::string text = "the connection was closed";
    try {
        co_await keep_up();
    } catch (const cancelled&) { // its owner, or the loop's end: nobody awaits this task
    } catch (const std::system_error& failure) {
        if (!is_ended_) { // otherwise its owner wants it to end, and it does not matter how
            why = failure.code();
            copy_if_possible(failure.what(), text);
        }
    } catch (const std::exception& failure) { // there is no memory
        why = errc::connection_lost;
        copy_if_possible(failure.what(), text);
    }
    is_ended_ = true;
    is_restored_ = false;
    link_.reset();
    end_channels(why, text);
    said_goodbye_.set();
}

task<> connection_state::keep_up() {
    event_loop& loop = event_loop::current();
    while (true) {
        const clock::time_point began = loop.now();
        bool was_restored = false;
        std::unique_ptr<link> dead;
        try {
            co_await live();
        } catch (const std::system_error& failure) {
            was_restored = is_restored_;
            dead = std::move(link_); // nobody says anything on it any more
            lose(failure.what());
            if (!options_.reconnect || is_ended_) {
                throw;
            }
        }
        co_await dead->end();
        dead.reset();
        if (is_ended_) { // closed meanwhile
            co_return;
        }
        if (was_restored && loop.now() - began >= std::min(options_.retry_max, good_after)) {
            backoff_.succeeded();
        }
        while (link_ == nullptr) {
            co_await sleep_for(backoff_.failed());
            try {
                link_ = co_await try_hosts();
            } catch (const std::system_error& failure) {
                tell(connection_event::kind::down, failure.what());
            }
        }
    }
}

/// As long as the link lives; throws why it does no longer.
task<> connection_state::live() {
    // Who reads and who writes may both see it: what the second one says is nobody's failure.
    bool is_lost = false;
    const auto first_to_see = [&is_lost](task<> what) -> task<> {
        try {
            co_await std::move(what);
        } catch (const std::system_error&) {
            if (!std::exchange(is_lost, true)) {
                throw;
            }
        }
    };
    const auto all = [this, &first_to_see](task_group& group) -> task<> {
        group.spawn(first_to_see(link_->write()), {.name = "amqp write"});
        group.spawn(link_->beat(), {.name = "amqp heartbeat"});
        if (!is_restored_) {
            group.spawn(first_to_see(restore()), {.name = "amqp restore"});
        }
        co_await first_to_see(link_->read(*this));
    };
    try {
        co_await with_task_group(all);
    } catch (const std::system_error& failure) {
        rethrow_lost(failure);
    }
}

void connection_state::lose(const std::string& why) {
    if (std::exchange(is_restored_, false)) {
        lost_at_ = event_loop::current().now();
    }
    is_blocked_ = false;
    for (auto at = channels_.begin(); at != channels_.end();) {
        const auto each = at->second;
        if (each->is_over()) {
            each->connection_over();
            at = channels_.erase(at);
        } else {
            each->link_lost();
            ++at;
        }
    }
    if (!is_ended_) {
        tell(connection_event::kind::down, why);
    }
}

void connection_state::end_channels(std::error_code why, std::string_view text) noexcept {
    for (const auto& [number, each] : std::exchange(channels_, {})) {
        each->end(why, text);
        each->connection_over();
    }
}

void connection_state::tell(connection_event::kind what, std::string text) const {
    if (options_.on_event && !is_ended_) { // afterwards its owner may be gone
        options_.on_event({what, std::move(text)});
    }
}

std::shared_ptr<channel_state> connection_state::add_channel() {
    std::erase_if(channels_, [](const auto& each) {
        const bool is_done = each.second->is_over() && each.second->is_number_free();
        if (is_done) {
            each.second->connection_over();
        }
        return is_done;
    });
    std::uint16_t number = 1;
    for (const auto& [taken, each] : channels_) {
        number = taken == number ? static_cast<std::uint16_t>(number + 1) : number;
    }
    if (link_ != nullptr && number > link_->channel_max()) {
        throw std::system_error(errc::no_channel_left,
                                fmt::format("{} channels are open", channels_.size()));
    }
    auto made = std::make_shared<channel_state>(*this, number);
    channels_.emplace(number, made);
    return made;
}

task<std::shared_ptr<channel_state>> connection_state::open_channel() {
    const auto self = shared_from_this();
    if (is_ended_) {
        throw std::system_error(errc::closed, "cannot open a channel: the connection is closed");
    }
    const auto until = saturating_add(event_loop::current().now(), options_.answer_within);
    auto made = add_channel();
    try {
        if (is_restored_) {
            try {
                co_await deadline(until, made->open());
                made->become_ready();
            } catch (const std::system_error& failure) {
                if (failure.code() != errc::connection_lost) {
                    throw;
                }
            }
        }
        co_await deadline(until, made->wait_until_ready()); // by the next link
    } catch (...) {
        made->abandon();
        throw;
    }
    co_return made;
}

task<> connection_state::close() {
    const auto self = shared_from_this();
    if (is_ended_ || std::exchange(is_closing_, true)) {
        co_return;
    }
    const auto until = saturating_add(event_loop::current().now(), options_.answer_within);
    try {
        co_await wait_for_confirms(until);
    } catch (...) {
        is_closing_ = false; // it goes on as before
        throw;
    }
    is_ended_ = true;
    if (link_ != nullptr) {
        amqp_connection_close_t goodbye{};
        goodbye.reply_code = AMQP_REPLY_SUCCESS;
        put_method(link_->out(), 0, AMQP_CONNECTION_CLOSE_METHOD, &goodbye);
        link_->flush();
        try {
            co_await deadline(until, said_goodbye_.wait());
        } catch (const std::system_error&) { // the time is over
        } catch (...) {
            keeper_.cancel();
            throw;
        }
    }
    keeper_.cancel();
    co_await keeper_;
}

/// Of all channels, or until the time is over.
task<> connection_state::wait_for_confirms(clock::time_point until) {
    const auto channels = channels_;
    for (const auto& [number, each] : channels) {
        while (!each->is_over() && each->window().unsettled() > 0) {
            try {
                co_await deadline(until, each->window().progress().wait());
            } catch (const std::system_error&) {
                co_return;
            }
        }
    }
}

void connection_state::abandon() noexcept {
    if (keeper_ && !keeper_.done()) {
        is_ended_ = true;
        end_channels(errc::closed, "the connection was closed");
        keeper_.cancel();
    }
}

void connection_state::take(const frame& from) {
    if (from.type == AMQP_FRAME_HEARTBEAT) {
        return;
    }
    if (from.channel != 0) {
        const auto found = channels_.find(from.channel);
        if (found == channels_.end()) {
            throw std::system_error(
                errc::protocol_broken,
                fmt::format("a frame comes on channel {}, which is not open", from.channel));
        }
        const auto held = found->second;
        held->take(from, link_->methods());
        if (link_->out().size() > answers_bytes_max) [[unlikely]] {
            require_reading();
        }
        return;
    }
    if (from.type != AMQP_FRAME_METHOD) {
        throw std::system_error(errc::protocol_broken, "a message comes on channel 0");
    }
    take_method(link_->methods().decode_method(0, from.payload));
}

/// What is to be sent is bounded by who publishes and by what was delivered, unless the broker has
/// us answer on and on, and reads nothing.
void connection_state::require_reading() {
    std::size_t most = answers_bytes_max + link_->forgiven_bytes();
    for_each_channel([&](const channel_state& each) { most += each.sent_bytes_max(); });
    if (link_->out().size() > most) {
        refuse("the broker reads nothing, and wants more and more answers");
    }
}

void connection_state::take_method(const method& said) {
    switch (said.id) {
    case AMQP_CONNECTION_CLOSE_METHOD: {
        const auto& close = said.as<amqp_connection_close_t>();
        const std::error_code why{close.reply_code, category()};
        const std::string text(view(close.reply_text));
        amqp_connection_close_ok_t ok{};
        put_method(link_->out(), 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        throw std::system_error(why, text);
    }
    case AMQP_CONNECTION_CLOSE_OK_METHOD:
        said_goodbye_.set();
        return;
    case AMQP_CONNECTION_BLOCKED_METHOD:
        is_blocked_ = true;
        tell(connection_event::kind::blocked,
             std::string(view(said.as<amqp_connection_blocked_t>().reason)));
        return;
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        is_blocked_ = false;
        tell(connection_event::kind::unblocked, {});
        for (const auto& [number, each] : channels_) {
            each->blocked_changed();
        }
        return;
    default:
        throw std::system_error(errc::protocol_broken, "the broker greets twice");
    }
}

} // namespace sapwood::amqp::detail
