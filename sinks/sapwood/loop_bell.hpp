// loop_bell: any thread rings, and on the bell's loop an event is set. One wake-up however often it
// is rung before it is heard. Made on the loop's thread; shared; rung in vain when the loop is
// gone.
#pragma once

#include <sapwood/event.hpp>
#include <sapwood/event_loop.hpp>

#include <memory>
#include <mutex>

namespace sapwood::detail {

class loop_bell final : private arrival,
                        private loop_observer,
                        public std::enable_shared_from_this<loop_bell> {
  public:
    /// For the loop that runs on this thread.
    [[nodiscard]] static std::shared_ptr<loop_bell> make();

    loop_bell(const loop_bell&) = delete;
    loop_bell& operator=(const loop_bell&) = delete;

    /// Any thread.
    void ring() noexcept;

    /// The same from a signal handler: false where somebody holds its lock just now.
    bool try_ring() noexcept;

    /// Loop thread. Has the event set, and nothing further, when it is rung.
    [[nodiscard]] event& rung() noexcept { return rung_; }

    /// Whether it is for the loop that runs on this thread.
    [[nodiscard]] bool is_for_this_loop() noexcept {
        const std::lock_guard lock(mutex_);
        return loop_ != nullptr && loop_ == running_loop;
    }

    /// Loop thread: it is not needed any more. Whoever keeps it may drop it anywhere afterwards.
    void retire() noexcept;

    /// Loop thread. Called, when it is rung, after the event is set; to end another wait.
    void on_ring(void (*call)(void*), void* with) noexcept {
        call_ = call;
        with_ = with;
    }

  private:
    loop_bell() = default;

    void ring_locked() noexcept;
    void arrive() noexcept override;
    void loop_ended() noexcept override;

    // Loop thread only.
    event rung_;
    void (*call_)(void*) = nullptr;
    void* with_ = nullptr;

    // Any thread, with mutex_ held.
    std::mutex mutex_;
    event_loop* loop_ = nullptr;
    std::shared_ptr<loop_bell> on_its_way_;
};

} // namespace sapwood::detail
