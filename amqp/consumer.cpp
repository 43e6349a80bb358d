#include <sapwood/amqp/consumer.hpp>

#include "channel_state.hpp"

#include <sapwood/amqp/errors.hpp>

#include <sapwood/errors.hpp>

#include <utility>

namespace sapwood::amqp {

namespace {

/// The inbox is closed and empty: throws, unless the end was wanted.
void look_at_end(const detail::consumer_state& of) {
    if (of.why != errc::closed) {
        throw std::system_error(of.why, of.text);
    }
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
    try {
        co_return co_await held->inbox.receive_many(out, std::min(max, held->inbox.capacity()),
                                                    linger);
    } catch (const std::system_error& failure) {
        if (failure.code() != sapwood::errc::closed) {
            throw;
        }
    }
    look_at_end(*held);
    co_return 0;
}

task<> consumer::cancel() {
    return it_->of->cancel(it_);
}

} // namespace sapwood::amqp
