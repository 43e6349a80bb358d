#include <sapwood/amqp/message.hpp>

#include "channel_state.hpp"

#include <utility>

namespace sapwood::amqp {

delivery::delivery(std::unique_ptr<detail::delivered> from) noexcept : it_(std::move(from)) {}

delivery::delivery(delivery&&) noexcept = default;

delivery& delivery::operator=(delivery&& other) noexcept {
    if (this != &other) {
        const delivery old(std::exchange(it_, std::move(other.it_)));
    }
    return *this;
}

delivery::~delivery() {
    if (it_ != nullptr) {
        const auto of = std::move(it_->of);
        of->take_back(std::move(it_));
    }
}

std::string_view delivery::body() const noexcept {
    return it_->body;
}

std::uint64_t delivery::body_bytes() const noexcept {
    return it_->body_bytes;
}

const properties& delivery::props() const noexcept {
    return it_->props;
}

std::string_view delivery::exchange() const noexcept {
    return it_->exchange;
}

std::string_view delivery::routing_key() const noexcept {
    return it_->routing_key;
}

bool delivery::is_redelivered() const noexcept {
    return it_->is_redelivered;
}

std::uint64_t delivery::tag() const noexcept {
    return it_->tag;
}

settled delivery::ack() noexcept {
    return settled(it_->of->settle(it_->epoch, it_->tag, detail::settlement::ack));
}

settled delivery::ack_through() noexcept {
    return settled(it_->of->settle(it_->epoch, it_->tag, detail::settlement::ack_through));
}

settled delivery::reject() noexcept {
    return settled(it_->of->settle(it_->epoch, it_->tag, detail::settlement::reject));
}

settled delivery::requeue() noexcept {
    return settled(it_->of->settle(it_->epoch, it_->tag, detail::settlement::requeue));
}

} // namespace sapwood::amqp
