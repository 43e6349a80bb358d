// crash_file: what a signal handler, or a child process, must know of the file that a sink writes
// to. The sink notes it, on the log's loop; the handler may run on any thread, in the middle of
// anything.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sapwood {

class file_sink;

namespace detail {

class crash_file {
  public:
    // --- the log's loop ---

    /// The file that is open now, and where it ends.
    void note(const file_sink& file) noexcept;

    /// It is being written to: of the lines that begin at `batch`, those behind the first `done`
    /// bytes.
    void begin_write(const char* batch, std::size_t done) noexcept;

    void end_write() noexcept { batch_.store(nullptr, std::memory_order_release); }

    void note_closed() noexcept { fd_.store(-1, std::memory_order_release); }

    // --- anybody ---

    /// -1 where no file is open.
    [[nodiscard]] int fd() const noexcept { return fd_.load(std::memory_order_acquire); }

    /// Async-signal-safe: write(2) until all of `lines` is there, without those that a write that
    /// is under way has brought there. Where somebody else has changed the file meanwhile, lines
    /// may be there twice, but none is missing. False where the rest could not be written.
    bool write(std::span<const char> lines) noexcept;

  private:
    [[nodiscard]] std::size_t count_written(int fd, std::size_t bytes) const noexcept;

    std::atomic<int> fd_{-1};
    std::atomic<std::uint64_t> end_{0};
    std::atomic<const char*> batch_{nullptr};
    std::atomic<std::size_t> done_{0};
};

} // namespace detail

} // namespace sapwood
