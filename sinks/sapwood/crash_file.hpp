// crash_file: what a signal handler, or a child process, must know of the file that a sink writes
// to, and how the two keep out of each other's way. The sink notes it, on the log's loop; the
// handler may run on any thread, in the middle of anything. It announces itself before it writes a
// byte: from then on, until the sink has looked after its file again, nothing that the loop's
// operations say of the file is to be relied on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>

namespace sapwood {

class file_sink;

namespace detail {

class crash_file {
  public:
    // --- the log's loop ---

    /// The file that is open now. Before another one, or none, is noted and has_handler() was asked
    /// after that, nothing may close it: a handler on another thread may have its number.
    void note(const file_sink& file) noexcept;

    /// It is being written to, from its present end on: of the lines that begin at `batch`, those
    /// behind the first `done` bytes; so many of those, `there`, are the present end. Who must not
    /// write at the same time as a handler asks for
    /// is_taken_over() after this: one of the two sees the other.
    void begin_write(const char* batch, std::size_t done, std::size_t there = 0) noexcept;

    void end_write() noexcept { batch_.store(nullptr, std::memory_order_seq_cst); }

    /// The file is about to be cut to `end`, after which it is asked whether a handler has come;
    /// one that comes then waits for that, some 300 ms at most, and no other one behind it.
    void begin_cut(std::uint64_t end) noexcept { cut_to_.store(end, std::memory_order_seq_cst); }

    void end_cut() noexcept { cut_to_.store(nowhere, std::memory_order_seq_cst); }

    void note_closed() noexcept { fd_.store(-1, std::memory_order_seq_cst); }

    /// In a child that was forked in the middle of anything.
    void begin_in_child() noexcept;

    /// How often a handler has begun to write.
    [[nodiscard]] std::uint32_t handlers() const noexcept {
        return begun_.load(std::memory_order_seq_cst);
    }

    /// How often one has come to its end.
    [[nodiscard]] std::uint32_t handlers_done() const noexcept {
        return ended_.load(std::memory_order_acquire);
    }

    /// One is at it.
    [[nodiscard]] bool has_handler() const noexcept {
        const std::uint32_t ended = handlers_done();
        return ended != handlers();
    }

    /// One has written, or does, since the last settle().
    [[nodiscard]] bool is_taken_over() const noexcept {
        return settled_.load(std::memory_order_relaxed) != handlers();
    }

    /// The file has been looked after, as it was left by the handlers up to that number.
    void settle(std::uint32_t handlers) noexcept {
        settled_.store(handlers, std::memory_order_relaxed);
    }

    /// What the loop's operations throw meanwhile.
    [[nodiscard]] static std::error_code taken_over() noexcept {
        return std::make_error_code(std::errc::device_or_resource_busy);
    }

    /// That for a file of which nothing is acknowledged, unless a handler is at work.
    void settle_if_alone() noexcept {
        const std::uint32_t seen = handlers();
        if (handlers_done() == seen) {
            settle(seen);
        }
    }

    // --- anybody ---

    /// -1 where no file is open. In a turn it stays open until the turn is over.
    [[nodiscard]] int fd() const noexcept { return fd_.load(std::memory_order_seq_cst); }

    /// A handler is at work. Async-signal-safe, as all that follows.
    class turn {
      public:
        explicit turn(crash_file& of) noexcept : of_(of) {
            of_.begun_.fetch_add(1, std::memory_order_seq_cst);
            of_.wait_for_cut();
        }

        turn(const turn&) = delete;
        turn& operator=(const turn&) = delete;

        ~turn() { of_.ended_.fetch_add(1, std::memory_order_release); }

      private:
        crash_file& of_;
    };

    /// write(2) until all of `lines` is there, without those that a write that is under way has
    /// brought there. Where somebody else has changed the file meanwhile, lines may be there
    /// twice, but none is missing. False where not all of them could be written; see kept().
    bool write(std::span<const char> lines) noexcept;

    /// Of the lines that the last write() was given, how many bytes in front are there: whole
    /// lines only.
    [[nodiscard]] std::size_t kept() const noexcept {
        return kept_.load(std::memory_order_relaxed);
    }

    /// The same of lines that nobody else writes, in a turn: how many bytes of them are there.
    /// What another write has left of a line is ended before them, and what is left of these is
    /// cut off, as far as that can be.
    [[nodiscard]] std::size_t put(std::string_view lines) noexcept;

    /// Of a line that stands in two places, without its newline: all of it or nothing.
    [[nodiscard]] bool put_line(std::string_view head, std::string_view line) noexcept;

    /// Of `lines`, which perhaps are being written, that is, begin_write() has been told so.
    [[nodiscard]] std::size_t finish(std::string_view lines) noexcept;

  private:
    static constexpr std::uint64_t nowhere = ~std::uint64_t{0};

    void wait_for_cut() noexcept;
    [[nodiscard]] std::size_t count_written(int fd, std::string_view text,
                                            std::uint64_t& begin) const noexcept;
    [[nodiscard]] std::size_t go_on(int to, std::string_view lines) noexcept;

    std::atomic<int> fd_{-1};
    std::atomic<std::uint64_t> end_{0};
    std::atomic<std::uint64_t> cut_to_{nowhere};
    std::atomic<const char*> batch_{nullptr};
    std::atomic<std::size_t> done_{0};
    std::atomic<std::size_t> kept_{0};
    std::atomic<std::uint32_t> begun_{0};
    std::atomic<std::uint32_t> ended_{0};
    std::atomic<std::uint32_t> settled_{0};
};

} // namespace detail

} // namespace sapwood
