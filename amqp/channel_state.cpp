#include "channel_state.hpp"

#include "batch_wait.hpp"
#include "connection_state.hpp"

#include <sapwood/amqp/errors.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <random>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

/// 48 bits that no other channel has: what it makes names of.
[[nodiscard]] std::string random_prefix(std::uint64_t bits) {
    constexpr std::string_view digits =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
    std::string text;
    for (int i = 0; i < 8; ++i, bits >>= 6) {
        text += digits[bits & 63];
    }
    return text;
}

[[nodiscard]] std::uint64_t random_bits() {
    std::random_device source;
    return static_cast<std::uint64_t>(source()) << 32 | source();
}

} // namespace

/// Lives in the frame of who waits.
struct channel_state::pending_call {
    amqp_method_number_t expected;
    bool is_lost = false;
    answer said;
    event over;
};

channel_state::channel_state(connection_state& of, std::uint16_t number)
    : mq_(&of),
      number_(number),
      window_({of.options().window_messages, of.options().window_bytes}),
      retry_backoff_(of.options().retry_first, of.options().retry_max),
      id_prefix_(random_prefix(random_bits())),
      ids_made_(random_bits() >> 30) {}

task<> channel_state::open() {
    const auto self = shared_from_this();
    std::string frames;
    amqp_channel_open_t open{};
    put_method(frames, number_, AMQP_CHANNEL_OPEN_METHOD, &open);
    co_await ask_or_throw(frames, AMQP_CHANNEL_OPEN_OK_METHOD);
    frames.clear();
    amqp_confirm_select_t select{};
    put_method(frames, number_, AMQP_CONFIRM_SELECT_METHOD, &select);
    co_await ask_or_throw(frames, AMQP_CONFIRM_SELECT_OK_METHOD);
}

task<> channel_state::consume_again() {
    const auto self = shared_from_this();
    const auto consumers = consumers_;
    for (const auto& each : consumers) {
        if (each->is_begun && !each->why) {
            const std::string again = each->frames;
            co_await ask_or_throw(again, AMQP_BASIC_CONSUME_OK_METHOD, 1);
        }
    }
}

std::size_t channel_state::sent_bytes_max() const noexcept {
    constexpr std::size_t settling_bytes = 21; // basic.ack; basic.reject has one less
    std::size_t most = window_.bytes();
    for (const auto& each : consumers_) {
        most += each->inbox.capacity() * settling_bytes;
    }
    return most;
}

void channel_state::become_ready() {
    ready_.set();
    blocked_changed(); // the broker before may have blocked publishers
}

void channel_state::link_lost() noexcept {
    is_open_sent_ = false;
    is_close_sent_ = false;
    forget_link();
}

/// All but what the broker was asked for: to open the channel, and to close it.
void channel_state::forget_link() noexcept {
    ready_.reset();
    ++epoch_;
    unsettled_.clear();
    last_tag_ = 0;
    arriving_ = {};
    window_.forget_sent();
    for (const auto& each : consumers_) {
        while (each->inbox.try_receive()) { // comes again
        }
        batch_wait::end_all(each->filling); // so that no batch is of two links
    }
    for (pending_call* const each : calls_) {
        if (each != nullptr) {
            each->is_lost = true;
            each->over.set();
        }
    }
    calls_.clear();
}

void channel_state::end(std::error_code why, std::string_view text) noexcept {
    if (std::exchange(is_over_, true)) {
        return;
    }
    const auto self = shared_from_this();
    why_ = why;
    copy_if_possible(text, text_);
    link* const on = mq_ == nullptr ? nullptr : mq_->up();
    if (on != nullptr) {
        on->forgive(sent_bytes_max());
    }
    forget_link();
    window_.fail_all(why, text);
    for (const auto& each : std::exchange(consumers_, {})) {
        end_consumer(*each, why, text);
    }
    declared_.clear();
    ready_.set(); // whoever waits for it looks, and finds that it is over
    wake_publishers();
}

void channel_state::require_open() const {
    if (is_over_) {
        throw std::system_error(why_, text_);
    }
}

std::string channel_state::make_name(std::string_view prefix) {
    std::array<char, 8> digits; // NOLINT: filled below
    const std::uint64_t number = ids_made_++ & ((1ULL << 28) - 1);
    const char* const end =
        std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr;
    std::string name;
    name.reserve(prefix.size() + id_prefix_.size() + digits.size());
    name += prefix;
    name += id_prefix_;
    name.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
    return name;
}

task<> channel_state::wait_until_ready() {
    const auto self = shared_from_this();
    co_await ready_.wait();
    require_open();
}

void channel_state::put(amqp_method_number_t id, const void* it) {
    link* const to = mq_ == nullptr ? nullptr : mq_->up();
    if (to != nullptr) {
        put_method(to->out(), number_, id, it);
        to->flush();
    }
}

/// Empty where the link was lost before the answer.
task<std::optional<answer>> channel_state::ask(std::string_view frames,
                                               amqp_method_number_t expected, std::size_t unheard) {
    require_open();
    link* const to = mq_->up();
    if (to == nullptr) {
        co_return std::nullopt;
    }
    const std::uint64_t asked_in = epoch_;
    pending_call call{expected, false, {}, {}};
    to->out().reserve(to->out().size() + frames.size()); // from here on nothing is to fail halfway
    calls_.insert(calls_.end(), unheard + 1, nullptr);
    calls_.back() = &call;
    to->out() += frames;
    to->flush();
    is_open_sent_ = is_open_sent_ || expected == AMQP_CHANNEL_OPEN_OK_METHOD;
    is_close_sent_ = is_close_sent_ || expected == AMQP_CHANNEL_CLOSE_OK_METHOD;
    try {
        co_await call.over.wait();
    } catch (...) {
        // The answer comes all the same, and is not the next call's.
        std::ranges::replace(calls_, &call, nullptr);
        throw;
    }
    require_open();
    // What was answered just before the link was lost is not there on the next one.
    if (call.is_lost || epoch_ != asked_in) {
        co_return std::nullopt;
    }
    co_return std::move(call.said);
}

task<> channel_state::ask_or_throw(std::string_view frames, amqp_method_number_t expected,
                                   std::size_t unheard) {
    std::optional<answer> said;
    try {
        said = co_await timeout(mq_->options().answer_within, ask(frames, expected, unheard));
    } catch (const std::system_error& failure) {
        if (failure.code() != std::errc::timed_out) {
            throw;
        }
        throw std::system_error(failure.code(),
                                fmt::format("the broker does not answer on channel {}, which is to "
                                            "be opened with what was on it",
                                            number_));
    }
    if (!said.has_value()) {
        throw std::system_error(errc::connection_lost, "opening a channel");
    }
}

task<answer> channel_state::call(std::string frames, amqp_method_number_t expected,
                                 std::string what, std::size_t unheard) {
    const auto self = shared_from_this();
    require_open();
    const auto until = saturating_add(event_loop::current().now(), mq_->options().answer_within);
    try {
        const auto turn = co_await deadline(until, turn_.lock());
        while (true) {
            co_await deadline(until, ready_.wait());
            require_open();
            auto said = co_await deadline(until, ask(frames, expected, unheard));
            if (said.has_value()) {
                co_return std::move(*said);
            }
        }
    } catch (const std::system_error& failure) {
        if (failure.code() == std::errc::timed_out) {
            throw std::system_error(failure.code(),
                                    fmt::format("cannot {}: the broker does not answer", what));
        }
        throw std::system_error(failure.code(), fmt::format("cannot {}: {}", what, text_));
    }
}

task<> channel_state::close() {
    const auto self = shared_from_this();
    if (is_over_) {
        co_return;
    }
    while (window_.unsettled() > 0) {
        co_await window_.progress().wait();
    }
    amqp_channel_close_t close{};
    close.reply_code = AMQP_REPLY_SUCCESS;
    std::string frames;
    put_method(frames, number_, AMQP_CHANNEL_CLOSE_METHOD, &close);
    if (!is_over_ && ready_.is_set()) {
        try {
            (void)co_await call(std::move(frames), AMQP_CHANNEL_CLOSE_OK_METHOD, "close a channel");
        } catch (...) {
            if (is_close_sent_) { // nothing can be said on it any more
                end(errc::closed, "the channel was closed");
            }
            throw;
        }
    } else if (!is_over_) {
        let_go_of_number();
    }
    end(errc::closed, "the channel was closed");
}

void channel_state::abandon() noexcept {
    if (is_over_) {
        return;
    }
    try {
        let_go_of_number();
    } catch (const std::bad_alloc&) { // the broker is not told, and the number stays taken
    }
    end(errc::closed, "the channel was closed");
}

/// Without waiting: where the broker has the channel, or is about to, its number is free when it
/// has answered.
void channel_state::let_go_of_number() {
    if (!is_open_sent_) {
        is_number_free_ = true;
    } else if (!std::exchange(is_close_sent_, true)) {
        amqp_channel_close_t close{};
        close.reply_code = AMQP_REPLY_SUCCESS;
        put(AMQP_CHANNEL_CLOSE_METHOD, &close);
    }
}

void channel_state::take(const frame& from, decoder& methods) {
    if (is_over_) { // closed by us: what the broker said before it knew is nobody's
        if (from.type == AMQP_FRAME_METHOD) {
            const amqp_method_number_t id = methods.decode_method(number_, from.payload).id;
            if (id == AMQP_CHANNEL_CLOSE_METHOD) {
                amqp_channel_close_ok_t ok{};
                put(AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
            }
            // Where closes cross, ours is still to be answered, and not on another channel.
            is_number_free_ = is_number_free_ || id == AMQP_CHANNEL_CLOSE_OK_METHOD ||
                              (id == AMQP_CHANNEL_CLOSE_METHOD && !is_close_sent_);
        }
        return;
    }
    const auto expected = from.type == AMQP_FRAME_HEADER ? arriving::stage::header
                          : from.type == AMQP_FRAME_BODY ? arriving::stage::body
                                                         : arriving::stage::none;
    if (expected != arriving_.at) {
        throw std::system_error(
            errc::protocol_broken,
            fmt::format("on channel {} a frame of type {} came in the middle of something else",
                        number_, from.type));
    }
    if (from.type == AMQP_FRAME_METHOD) {
        take_method(methods.decode_method(number_, from.payload));
    } else if (from.type == AMQP_FRAME_HEADER) {
        take_header(methods.decode_header(from.payload));
    } else {
        take_body(from.payload);
    }
}

void channel_state::take_method(const method& said) {
    switch (said.id) {
    case AMQP_BASIC_DELIVER_METHOD:
        take_deliver(said.as<amqp_basic_deliver_t>());
        return;
    case AMQP_BASIC_ACK_METHOD: {
        const auto& ack = said.as<amqp_basic_ack_t>();
        take_confirm(ack.delivery_tag, ack.multiple != 0, false);
        return;
    }
    case AMQP_BASIC_NACK_METHOD: {
        const auto& nack = said.as<amqp_basic_nack_t>();
        take_confirm(nack.delivery_tag, nack.multiple != 0, true);
        return;
    }
    case AMQP_BASIC_RETURN_METHOD:
        take_return(said.as<amqp_basic_return_t>());
        return;
    case AMQP_BASIC_CANCEL_METHOD:
        take_cancel(view(said.as<amqp_basic_cancel_t>().consumer_tag));
        return;
    case AMQP_CHANNEL_CLOSE_METHOD:
        take_close(said.as<amqp_channel_close_t>());
        return;
    case AMQP_CHANNEL_FLOW_METHOD: { // RabbitMQ does not use it; it is answered and not obeyed
        const amqp_channel_flow_ok_t ok{said.as<amqp_channel_flow_t>().active};
        put(AMQP_CHANNEL_FLOW_OK_METHOD, &ok);
        return;
    }
    default:
        take_answer(said);
    }
}

void channel_state::take_answer(const method& said) {
    if (calls_.empty() || (calls_.front() != nullptr && calls_.front()->expected != said.id)) {
        throw std::system_error(errc::protocol_broken,
                                fmt::format("the broker answers {}.{} to what nobody has asked",
                                            said.id >> 16, said.id & 0xffff));
    }
    is_number_free_ = is_number_free_ || said.id == AMQP_CHANNEL_CLOSE_OK_METHOD;
    pending_call* const call = calls_.front();
    calls_.pop_front();
    if (call == nullptr) {
        return;
    }
    if (said.id == AMQP_QUEUE_DECLARE_OK_METHOD) {
        const auto& ok = said.as<amqp_queue_declare_ok_t>();
        call->said = {std::string(view(ok.queue)), ok.message_count, ok.consumer_count};
    } else if (said.id == AMQP_QUEUE_DELETE_OK_METHOD) {
        call->said.first = said.as<amqp_queue_delete_ok_t>().message_count;
    } else if (said.id == AMQP_QUEUE_PURGE_OK_METHOD) {
        call->said.first = said.as<amqp_queue_purge_ok_t>().message_count;
    }
    call->over.set();
}

void channel_state::take_close(const amqp_channel_close_t& said) {
    const std::error_code why{said.reply_code, category()};
    const std::string text(view(said.reply_text));
    const bool is_taken =
        why == errc::resource_locked ||
        (why == errc::access_refused &&
         (amqp_method_number_t{said.class_id} << 16 | said.method_id) == AMQP_BASIC_CONSUME_METHOD);
    if (is_taken && !ready_.is_set() && mq_->may_be_known_still()) {
        // An exclusive queue is declared again, or consumed exclusively, and the broker has not
        // noticed yet that the connection is gone whose it was: on the next link, later.
        throw std::system_error(why, text);
    }
    amqp_channel_close_ok_t ok{};
    put(AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    is_number_free_ = !is_close_sent_; // otherwise when ours is answered
    end(why, text);
}

} // namespace sapwood::amqp::detail
