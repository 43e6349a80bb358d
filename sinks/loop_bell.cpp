#include <sapwood/loop_bell.hpp>

#include <utility>

namespace sapwood::detail {

std::shared_ptr<loop_bell> loop_bell::make() {
    std::shared_ptr<loop_bell> bell(new loop_bell());
    bell->loop_ = &event_loop::current();
    bell->loop_->observe(*bell);
    return bell;
}

void loop_bell::ring() noexcept {
    const std::lock_guard lock(mutex_);
    ring_locked();
}

bool loop_bell::try_ring() noexcept {
    if (!mutex_.try_lock()) {
        return false;
    }
    ring_locked();
    mutex_.unlock();
    return true;
}

void loop_bell::ring_locked() noexcept {
    if (loop_ != nullptr && on_its_way_ == nullptr) {
        on_its_way_ = shared_from_this();
        loop_->post(*this); // under the lock: the loop cannot end meanwhile
    }
}

void loop_bell::arrive() noexcept {
    std::shared_ptr<loop_bell> self; // may be the last to keep *this
    {
        const std::lock_guard lock(mutex_);
        self = std::move(on_its_way_);
        if (loop_ == nullptr) {
            return;
        }
    }
    rung_.set();
    if (call_ != nullptr) {
        call_(with_);
    }
}

void loop_bell::loop_ended() noexcept {
    const std::lock_guard lock(mutex_);
    loop_ = nullptr;
}

void loop_bell::retire() noexcept {
    const std::lock_guard lock(mutex_);
    if (loop_ != nullptr) {
        std::exchange(loop_, nullptr)->forget(*this);
    }
    call_ = nullptr;
}

} // namespace sapwood::detail
