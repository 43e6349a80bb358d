#include "fork_generation.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/ring.hpp>

#include <pthread.h>
#include <utility>

namespace sapwood {

namespace {

/// In the place of a ring that is not there: a queue that is always full, and nothing ever comes.
class absent_ring final : public ring {
  public:
    absent_ring() noexcept {
        sq_.head = sq_.flags = &nothing_;
        cq_.head = cq_.tail = &nothing_;
    }

    void enter(clock::time_point) override {}

    [[nodiscard]] std::string report() const override { return "the ring of another process"; }

  private:
    unsigned nothing_ = 0;
};

} // namespace

unsigned detail::fork_generation = 0;

unsigned detail::current_generation() {
    static const int registered = ::pthread_atfork(nullptr, nullptr, [] { // in the child
        ++fork_generation;
        if (auto* const loop = std::exchange(detail::running_loop, nullptr)) {
            loop->lose_ring();
        }
    });
    (void)registered;
    return fork_generation;
}

void event_loop::lose_ring() noexcept {
    // The memory of the kernel's ring is not there. What is started all the same stays in the
    // backlog, until the turn ends in an assertion that says why.
    static absent_ring none;
    (void)ring_.release();
    ring_.reset(&none);
}

void event_loop::disown(operation& node) noexcept {
    switch (node.phase_) {
    case operation::phase::idle:
    case operation::phase::in_flight:
        break;
    case operation::phase::backlogged:
        backlog_.remove(node);
        break;
    case operation::phase::cancel_backlogged:
        cancel_backlog_.remove(node);
        break;
    case operation::phase::cancelling:
        cancelling_.remove(node);
        break;
    }
    node.phase_ = operation::phase::idle;
}

} // namespace sapwood
