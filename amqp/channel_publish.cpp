// What a channel_state does for publishers.
#include "channel_state.hpp"
#include "connection_state.hpp"

#include <sapwood/amqp/errors.hpp>

#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <fmt/format.h>
#include <new>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

struct resetting {
    bool& what;

    ~resetting() { what = false; }
};

} // namespace

outgoing_ptr channel_state::encode(std::string_view exchange, std::string_view routing_key,
                                   std::string_view body, const publish_options& options) {
    require_open();
    auto made = std::make_shared<outgoing>();
    made->message_id = options.message_id.empty() ? make_name({}) : options.message_id;
    const publication_parts parts{number_, exchange, routing_key, body, made->message_id};
    put_publication(made->frames, parts, options, mq_->frame_bytes_max());
    return made;
}

bool channel_state::may_publish(std::size_t bytes) const {
    require_open();
    return window_.has_room(bytes) && !mq_->is_blocked();
}

task<> channel_state::wait_for_room(std::size_t bytes) {
    while (!may_publish(bytes)) {
        co_await room_.wait();
    }
}

task<> channel_state::publish(outgoing_ptr it) {
    const auto self = shared_from_this();
    {
        const auto first = co_await entry_.lock();
        co_await wait_for_room(it->frames.size());
        it->is_awaited = true;
        send_or_throw(it);
    }
    try {
        co_await it->over.wait();
    } catch (...) {
        it->is_awaited = false; // what becomes of it is for confirmed() to tell
        throw;
    }
    if (it->why) {
        throw std::system_error(it->why, fmt::format("cannot publish: {}", it->text));
    }
}

publication channel_state::publish_nowait(outgoing_ptr it) {
    const auto first = entry_.try_lock();
    const bool is_its_turn = std::exchange(has_had_turn_, false) || first;
    if (!is_its_turn || !may_publish(it->frames.size())) {
        refused_bytes_ = it->frames.size();
        return publication::none;
    }
    refused_bytes_ = 0;
    send_or_throw(std::move(it));
    return static_cast<publication>(window_.last_number());
}

task<> channel_state::room() {
    const auto self = shared_from_this();
    const std::size_t bytes = refused_bytes_; // others may be refused meanwhile
    const auto first = co_await entry_.lock();
    co_await wait_for_room(bytes);
    has_had_turn_ = true; // from here on the turn is the next one's, who looks at the room again
}

task<> channel_state::confirmed(std::uint64_t last) {
    const auto self = shared_from_this();
    confirmation mine(window_, last == 0 ? window_.last_number() : last);
    while (!window_.are_settled(mine.last())) {
        co_await window_.progress().wait();
    }
    mine.require_none_failed();
}

/// Where it throws, the message is not published.
void channel_state::send_or_throw(outgoing_ptr it) {
    window_.add(std::move(it));
    try {
        send_published();
    } catch (...) { // there is no memory: nothing was sent
        window_.take_back();
        throw;
    }
}

/// What is to be sent again, too; while the broker blocks publishers, all of it waits.
void channel_state::send_published() {
    link* const to = mq_ == nullptr || !ready_.is_set() ? nullptr : mq_->up();
    if (to != nullptr && !mq_->is_blocked() && !is_close_sent_) {
        window_.send(to->out());
        to->flush();
    }
}

void channel_state::blocked_changed() {
    send_published();
    wake_publishers();
}

void channel_state::wake_publishers() noexcept {
    room_.set();
    room_.reset();
}

task<> channel_state::retry_refused() {
    const auto self = shared_from_this();
    const resetting at_end{is_retrying_};
    bool has_memory = true;
    while (!is_over_ && (window_.has_refused() || !has_memory)) {
        if (!has_memory) {
            co_await yield();
        }
        try {
            has_memory = false;
            co_await sleep_for(retry_backoff_.failed());
            window_.retry();
            send_published();
            has_memory = true;
        } catch (const std::bad_alloc&) { // again, later
        }
    }
}

void channel_state::take_confirm(std::uint64_t tag, bool multiple, bool is_refused) {
    if (!window_.confirm(tag, multiple, is_refused)) {
        throw std::system_error(
            errc::protocol_broken,
            fmt::format("the broker confirms message {}, which was never sent", tag));
    }
    if (!is_refused) {
        retry_backoff_.succeeded();
    } else if (window_.has_refused() && !is_retrying_) {
        (void)spawn(retry_refused(), {.name = "amqp retry"});
        is_retrying_ = true;
    }
    wake_publishers();
}

void channel_state::take_return(const amqp_basic_return_t& said) {
    arriving_ = {};
    arriving_.at = arriving::stage::header;
    arriving_.back = std::make_unique<arriving::going_back>();
    auto& back = *arriving_.back;
    back.why = {said.reply_code, category()};
    back.which.exchange = view(said.exchange);
    back.which.routing_key = view(said.routing_key);
    back.text = fmt::format("{}: exchange '{}', routing key '{}'", view(said.reply_text),
                            back.which.exchange, back.which.routing_key);
}

} // namespace sapwood::amqp::detail
