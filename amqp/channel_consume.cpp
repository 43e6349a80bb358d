// What a channel_state does for consumers and deliveries.
#include "batch_wait.hpp"
#include "channel_state.hpp"
#include "connection_state.hpp"

#include <sapwood/amqp/errors.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

/// Messages whose memory is kept, and how long a body may be that is: with their names, 1 MiB of a
/// channel at most.
constexpr std::size_t spare_max = 256;
constexpr std::size_t spare_body_bytes_max = 1024;

void clear(properties& of) noexcept {
    for (std::string* const each :
         {&of.content_type, &of.content_encoding, &of.correlation_id, &of.reply_to, &of.expiration,
          &of.message_id, &of.type, &of.user_id, &of.app_id}) {
        each->clear();
    }
    of.headers = {};
    of.are_headers_left_out = false;
    of.is_persistent = false;
    of.priority = 0;
    of.timestamp = 0;
}

} // namespace

task<std::shared_ptr<consumer_state>> channel_state::consume(std::shared_ptr<consumer_state> made) {
    const auto self = shared_from_this();
    made->of = self;
    if (made->body_bytes_max == 0) {
        made->body_bytes_max = mq_ == nullptr ? 0 : mq_->options().message_bytes_max;
    }
    consumers_.push_back(made); // deliveries may come right behind the answer
    spare_.reserve(spare_max);
    try {
        (void)co_await call(made->frames, AMQP_BASIC_CONSUME_OK_METHOD, "consume", 1);
    } catch (...) {
        drop(*made);
        throw;
    }
    made->is_begun = true;
    co_return made;
}

task<> channel_state::cancel(std::shared_ptr<consumer_state> which) {
    const auto self = shared_from_this();
    if (which->why) {
        co_return;
    }
    if (!ready_.is_set()) { // it went with the link, and does not begin again on the next one
        drop(*which);
        co_return;
    }
    amqp_basic_cancel_t cancel{};
    cancel.consumer_tag = bytes(which->tag);
    std::string frames;
    put_method(frames, number_, AMQP_BASIC_CANCEL_METHOD, &cancel);
    which->is_begun = false; // not again, should the link be lost meanwhile
    try {
        (void)co_await call(std::move(frames), AMQP_BASIC_CANCEL_OK_METHOD, "cancel a consumer");
    } catch (...) {
        drop(*which); // otherwise nobody would: it is not begun again, and has not ended
        throw;
    }
    while (auto left = which->inbox.try_receive()) {
        (void)left->requeue(); // NOLINT(bugprone-unchecked-optional-access): just looked
    }
    end_consumer(*which, errc::closed, {});
    std::erase(consumers_, which);
}

void channel_state::drop(consumer_state& which) noexcept {
    if (which.why) {
        return;
    }
    // Also where the broker is just being asked to begin it again.
    if (!is_over_ && is_open_sent_ && !is_close_sent_) {
        amqp_basic_cancel_t cancel{};
        cancel.consumer_tag = bytes(which.tag);
        cancel.nowait = 1;
        try {
            put(AMQP_BASIC_CANCEL_METHOD, &cancel);
        } catch (const std::bad_alloc&) { // it would deliver for ever what goes back to it
            mq_->up()->break_off();
        }
        while (auto left = which.inbox.try_receive()) {
            (void)left->requeue(); // NOLINT(bugprone-unchecked-optional-access): just looked
        }
    }
    end_consumer(which, errc::closed, {});
    std::erase_if(consumers_, [&](const auto& each) { return each.get() == &which; });
}

void channel_state::end_consumer(consumer_state& which, std::error_code why,
                                 std::string_view text) noexcept {
    if (!which.why) {
        which.why = why;
        copy_if_possible(text, which.text);
        which.inbox.close();
        batch_wait::end_all(which.filling);
    }
}

void channel_state::take_cancel(std::string_view tag) {
    const auto found =
        std::ranges::find_if(consumers_, [&](const auto& each) { return each->tag == tag; });
    if (found != consumers_.end()) {
        end_consumer(**found, errc::consumer_ended,
                     fmt::format("consumer '{}': its queue is gone", tag));
        consumers_.erase(found);
    }
}

void channel_state::take_deliver(const amqp_basic_deliver_t& said) {
    const auto found = std::ranges::find_if(
        consumers_, [&](const auto& each) { return each->tag == view(said.consumer_tag); });
    if (said.delivery_tag <= last_tag_) {
        throw std::system_error(
            errc::protocol_broken,
            fmt::format("delivery {} comes behind delivery {}", said.delivery_tag, last_tag_));
    }
    last_tag_ = said.delivery_tag;
    arriving_ = {};
    arriving_.at = arriving::stage::header;
    if (spare_.empty()) {
        arriving_.it = std::make_unique<delivered>();
    } else {
        arriving_.it = std::move(spare_.back());
        spare_.pop_back();
    }
    arriving_.it->of = shared_from_this();
    arriving_.it->epoch = epoch_;
    arriving_.it->tag = said.delivery_tag;
    arriving_.it->is_redelivered = said.redelivered != 0;
    arriving_.it->exchange = view(said.exchange);
    arriving_.it->routing_key = view(said.routing_key);
    if (found != consumers_.end()) {
        arriving_.to = *found;
    }
}

void channel_state::take_header(const content_header& header) {
    arriving_.bytes_left = header.body_bytes;
    if (arriving_.it != nullptr) {
        copy_properties(header, arriving_.it->props);
        arriving_.it->body_bytes = header.body_bytes;
    } else if ((header.props->_flags & AMQP_BASIC_MESSAGE_ID_FLAG) != 0) {
        arriving_.back->which.message_id = view(header.props->message_id);
    }
    if (arriving_.to != nullptr) {
        const std::size_t most = arriving_.to->body_bytes_max;
        const bool is_kept = header.body_bytes <= most || arriving_.to->cuts_long_bodies;
        arriving_.kept_left = is_kept ? std::min<std::uint64_t>(header.body_bytes, most) : 0;
    }
    arriving_.at = arriving::stage::body;
    if (arriving_.bytes_left == 0) {
        finish_arriving();
    }
}

void channel_state::take_body(std::string_view bytes) {
    if (bytes.size() > arriving_.bytes_left) {
        throw std::system_error(errc::protocol_broken,
                                "a message has more bytes than its header says");
    }
    arriving_.bytes_left -= bytes.size();
    if (arriving_.kept_left > 0) {
        bytes = bytes.substr(0, arriving_.kept_left);
        arriving_.it->body += bytes; // grows as it comes, not as it is announced
        arriving_.kept_left -= bytes.size();
    }
    if (arriving_.bytes_left == 0) {
        finish_arriving();
    }
}

void channel_state::finish_arriving() {
    arriving done = std::exchange(arriving_, {});
    if (done.back != nullptr) {
        window_.returned(done.back->which, done.back->why, std::move(done.back->text));
        return;
    }
    unsettled_.push_back(done.it->tag);
    delivery made(std::move(done.it));
    if (done.to == nullptr || done.to->why) {
        (void)made.requeue(); // a consumer that was cancelled meanwhile
    } else {
        give(std::move(made), *done.to);
    }
}

void channel_state::take_back(std::unique_ptr<delivered> it) noexcept {
    if (spare_.size() == spare_.capacity() || it->body.capacity() > spare_body_bytes_max) {
        return;
    }
    clear(it->props);
    it->body.clear();
    spare_.push_back(std::move(it));
}

void channel_state::give(delivery made, consumer_state& to) {
    if (made.is_cut() && !to.cuts_long_bodies) {
        (void)made.reject();
        tell_rejected(made, to);
    } else if (!to.inbox.try_send(std::move(made))) {
        throw std::system_error(errc::protocol_broken,
                                fmt::format("the broker delivers more to consumer '{}' than its "
                                            "prefetch allows",
                                            to.tag));
    } else if (!to.filling.empty()) {
        batch_wait::arrived(to.filling, to.inbox.size());
    }
}

void channel_state::tell_rejected(const delivery& which, const consumer_state& of) {
    mq_->tell(connection_event::kind::rejected,
              fmt::format("message '{}' of exchange '{}' with routing key '{}' is rejected: it has "
                          "{} bytes, and consumer '{}' takes {} at most",
                          which.props().message_id, which.exchange(), which.routing_key(),
                          which.body_bytes(), of.tag, of.body_bytes_max));
}

bool channel_state::settle(std::uint64_t epoch, std::uint64_t tag, settlement how) noexcept {
    // Behind a close the number is no channel's, and who speaks on it has his connection closed.
    if (epoch != epoch_ || is_over_ || is_close_sent_) {
        return false;
    }
    const auto found = std::ranges::lower_bound(unsettled_, tag);
    if (found == unsettled_.end() || *found != tag) {
        return false;
    }
    try {
        put_settlement(tag, how);
    } catch (
        const std::bad_alloc&) { // it would wait for that for ever: on another link it comes again
        mq_->up()->break_off();
        return false;
    }
    if (how == settlement::ack_through) {
        unsettled_.erase(unsettled_.begin(), found + 1);
    } else {
        unsettled_.erase(found);
    }
    return true;
}

void channel_state::put_settlement(std::uint64_t tag, settlement how) {
    if (how == settlement::ack || how == settlement::ack_through) {
        amqp_basic_ack_t ack{};
        ack.delivery_tag = tag;
        ack.multiple = how == settlement::ack_through ? 1 : 0;
        put(AMQP_BASIC_ACK_METHOD, &ack);
    } else {
        amqp_basic_reject_t reject{};
        reject.delivery_tag = tag;
        reject.requeue = how == settlement::requeue ? 1 : 0;
        put(AMQP_BASIC_REJECT_METHOD, &reject);
    }
}

} // namespace sapwood::amqp::detail
