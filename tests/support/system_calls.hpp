// What the kernel would do with an SQE, done at once by the system call of the same name, for a
// scripted_ring whose test spoils some operations and leaves the others alone.
#pragma once

#include "support/scripted_ring.hpp"

#include <sapwood/run.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace sapwood::test {

/// The result or a negative errno, as in a completion. Empty for a read from what is no regular
/// file: it may have to wait, so it stays in flight.
[[nodiscard]] std::optional<std::int32_t> perform(const io_uring_sqe& sqe);

/// The same for a read or write of `bytes` at the most.
[[nodiscard]] std::optional<std::int32_t> perform_some(const io_uring_sqe& sqe, unsigned bytes);

/// A loop that does what it would on the kernel's ring, but for the writes, of which the test says
/// how they end:
///
///     loop_with_writes disk([](const io_uring_sqe& sqe) { return perform_some(sqe, 1); });
///     disk.run(...);
class loop_with_writes {
  public:
    using write_answer = std::function<std::optional<std::int32_t>(const io_uring_sqe&)>;

    explicit loop_with_writes(write_answer on_write)
        : loop_with_writes(std::make_unique<scripted_ring>(), std::move(on_write)) {}

    template <class T>
    T run(task<T> main) {
        return loop_.run(std::move(main));
    }

    [[nodiscard]] scripted_ring& ring() noexcept { return ring_; }

  private:
    loop_with_writes(std::unique_ptr<scripted_ring> ring, write_answer on_write);

    scripted_ring& ring_;
    event_loop loop_;
};

} // namespace sapwood::test
