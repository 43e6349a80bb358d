// Operations that an older kernel's ring does not know, carried out by threads. In the ring each
// has a stand-in under the same user_data: a read from a pipe of its own, in which the worker
// leaves a byte where it succeeded and nothing where it did not. A wait for a process needs no
// thread: its stand-in is a poll of the pidfd. So waiting, chains and cancelling
// are the kernel's work as with any other operation; only the result has to be put right. Loop
// thread only.
#pragma once

#include "worker_pool.hpp"

#include <cstdint>
#include <liburing.h>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace sapwood {

class opcode_fallback {
  public:
    /// `missing` has a bit for each opcode (below 64) that the kernel lacks. Throws
    /// std::system_error.
    explicit opcode_fallback(std::uint64_t missing);
    opcode_fallback(const opcode_fallback&) = delete;
    opcode_fallback& operator=(const opcode_fallback&) = delete;
    ~opcode_fallback();

    /// Whether there is another way for the opcode.
    [[nodiscard]] static bool knows(std::uint8_t opcode) noexcept;

    [[nodiscard]] bool lacks(std::uint8_t opcode) const noexcept {
        return opcode < 64 && ((missing_ >> opcode) & 1) != 0;
    }

    /// Starts what `sqe` asks for and puts the stand-in in its place. Not for one that is linked to
    /// an SQE before it: it would start too early.
    void replace(io_uring_sqe& sqe) noexcept;

    /// The result of a completion from the kernel, which is `value` unless it is a stand-in's.
    /// Nothing where the operation goes on although its stand-in was cancelled: the next `resume`
    /// waits for it again.
    [[nodiscard]] std::optional<std::int32_t> result(std::uint64_t user_data,
                                                     std::int32_t value) noexcept;

    /// Fills `sqe` with another stand-in, if one is needed.
    [[nodiscard]] bool has_to_resume() const noexcept { return !to_resume_.empty(); }

    void resume(io_uring_sqe& sqe) noexcept;

    /// Tells those that were cancelled, and still run, once more to stop: a signal may come a
    /// moment before the call it is meant for. Whether there are any.
    [[nodiscard]] bool repeat_interrupts() noexcept { return workers_.repeat_interrupts(); }

  private:
    struct request;

    void drop_finished() noexcept;

    const std::uint64_t missing_;
    std::unordered_map<std::uint64_t, std::unique_ptr<request>> in_flight_;
    /// Their completion has been given, and the pool has not let go of them yet.
    std::vector<std::unique_ptr<request>> told_;
    std::vector<request*> to_resume_;
    doorbell unused_bell_;
    worker_pool workers_;
};

} // namespace sapwood
