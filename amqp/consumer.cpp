#include <sapwood/amqp/consumer.hpp>

#include "batch_wait.hpp"
#include "channel_state.hpp"

#include <sapwood/amqp/errors.hpp>

#include <sapwood/errors.hpp>
#include <sapwood/event_loop.hpp>

#include <algorithm>
#include <utility>

namespace sapwood::amqp {

namespace {

/// The inbox is closed and empty: throws, unless the end was wanted.
void look_at_end(const detail::consumer_state& of) {
    if (of.why != errc::closed) {
        throw std::system_error(of.why, of.text);
    }
}

/// How many messages are there, and may come before something is settled. Those of the channel's
/// other consumers count as this one's: what is waited for is less then than could be.
std::size_t still_to_come(const detail::consumer_state& of) {
    if (of.why || !of.of->is_ready()) {
        return 0;
    }
    const std::size_t taken = of.of->unsettled() - std::min(of.of->unsettled(), of.inbox.size());
    return of.inbox.capacity() - std::min(of.inbox.capacity(), taken);
}

/// Of what is there.
std::size_t take(detail::consumer_state& from, std::size_t most, std::vector<delivery>& out) {
    std::size_t count = 0;
    while (count < most) {
        auto next = from.inbox.try_receive();
        if (!next.has_value()) {
            break;
        }
        out.push_back(std::move(*next));
        ++count;
    }
    return count;
}

} // namespace

consumer::consumer(std::shared_ptr<detail::consumer_state> from) noexcept : it_(std::move(from)) {}

consumer::consumer(consumer&&) noexcept = default;

consumer& consumer::operator=(consumer&& other) noexcept {
    if (this != &other) {
        consumer old(std::exchange(it_, std::exchange(other.it_, nullptr)));
    }
    return *this;
}

consumer::~consumer() {
    if (it_ != nullptr) {
        it_->of->drop(*it_);
    }
}

const std::string& consumer::tag() const noexcept {
    return it_->tag;
}

task<std::optional<delivery>> consumer::next() {
    const auto held = it_;
    try {
        co_return co_await held->inbox.receive();
    } catch (const std::system_error& failure) {
        if (failure.code() != sapwood::errc::closed) {
            throw;
        }
    }
    look_at_end(*held);
    co_return std::nullopt;
}

task<std::size_t> consumer::next_many(std::vector<delivery>& out, std::size_t max,
                                      time_span linger) {
    const auto held = it_;
    std::size_t count = 0;
    try {
        count = co_await held->inbox.receive_many(out, max);
    } catch (const std::system_error& failure) {
        if (failure.code() != sapwood::errc::closed) {
            throw;
        }
    }
    if (count == 0) {
        look_at_end(*held);
        co_return 0;
    }
    const clock::duration at_most = linger;
    if (at_most > clock::duration::zero()) {
        const event_loop& loop = event_loop::current();
        const bool is_alone = count == 1 && loop.now() > saturating_add(held->taken_at, at_most);
        const std::size_t more = std::min(max - count, still_to_come(*held));
        if (more > 0 && !is_alone) {
            co_await detail::batch_wait(held->filling, more, at_most);
            count += take(*held, max - count, out);
        }
        held->taken_at = loop.now();
    }
    co_return count;
}

task<> consumer::cancel() {
    return it_->of->cancel(it_);
}

} // namespace sapwood::amqp
