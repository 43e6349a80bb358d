// The memory between a thread that logs and who writes the log: a ring of frames with one producer
// and one consumer. Everything in it is an offset or a number, nothing a pointer, so that it may be
// mapped at different addresses and drained after its producer has crashed.
//
// Positions count bytes since the ring was made and never wrap; a frame is contiguous, and what is
// left at the end of a lap is skipped. A record is committed by one release store of `head`; its
// memory is given back by a store of `tail`, whose lowest bit says that the consumer reads right
// now (needed where a full ring drops its oldest records, and both may move the tail).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sapwood::detail {

/// Why a record that was to be logged is not in the log.
enum class drop_reason : std::uint8_t { ring_full, made_room, below_level, no_memory, count };

inline constexpr std::size_t drop_reasons = static_cast<std::size_t>(drop_reason::count);

/// What stands before a message in the ring.
struct log_frame {
    static constexpr std::uint8_t plain = 1;      // is_plain(message) is known to hold
    static constexpr std::uint8_t has_fields = 2; // behind the message, see log_fields.hpp
    static constexpr std::uint8_t truncated = 4;  // the message was longer than a ring takes
    static constexpr std::uint8_t kept_only = 8;  // below its logger's level; see log_recent

    /// The upper three bits of the flags: so many bytes at the frame's end are nothing's.
    static constexpr unsigned padding_shift = 5;

    /// Of the frame, this header included; a multiple of 8. With skip_rest set there is no frame:
    /// the rest of the lap is unused.
    std::uint32_t bytes;
    /// The lower half of the record's number. Those that are missing were dropped.
    std::uint32_t sequence;
    std::uint64_t ticks;
    std::uint32_t message_bytes;
    std::uint16_t logger;
    std::uint8_t importance;
    std::uint8_t flags;
};

static_assert(sizeof(log_frame) == 24);

/// The head of the memory, `data_bytes` of frames behind it.
struct log_ring_header {
    static constexpr std::uint64_t magic_value = 0x676e6972'646f6f77; // "woodring"
    static constexpr std::uint32_t version_value = 1;
    static constexpr std::uint32_t skip_rest = 0x8000'0000;
    static constexpr std::uint64_t tail_is_read = 1;
    /// Behind the data: writers and readers may touch a little more than the frame.
    static constexpr std::size_t slack_bytes = 64;

    // Constant.
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t header_bytes;
    std::uint64_t data_bytes;
    std::int32_t process;
    std::int32_t thread;

    // Written by the producer.
    alignas(64) std::atomic<std::uint64_t> head;
    alignas(64) std::atomic<std::uint64_t> dropped_through; // number of the last dropped, plus one
    std::atomic<std::uint64_t> drops[drop_reasons];
    /// The producer sleeps until there is room, on this futex: 1. A task of its waits: 2.
    std::atomic<std::uint32_t> waits_for_room;

    // Written by the consumer.
    alignas(64) std::atomic<std::uint64_t> tail;
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// Whether a reader can be put on `bytes` of memory, of another process for example: it has a
/// ring's header and room for the ring. What is in the ring may be anything.
[[nodiscard]] bool is_log_ring(const void* memory, std::size_t bytes) noexcept;

/// Memory for a ring, zero pages of the process's own. Throws std::system_error.
class log_ring_memory {
  public:
    /// `data_bytes` must be a power of two.
    explicit log_ring_memory(std::size_t data_bytes);
    log_ring_memory(const log_ring_memory&) = delete;
    log_ring_memory& operator=(const log_ring_memory&) = delete;
    ~log_ring_memory();

    [[nodiscard]] log_ring_header& header() const noexcept { return *header_; }

  private:
    std::size_t bytes_;
    log_ring_header* header_;
};

/// The producer's end. One thread.
class log_ring_writer {
  public:
    explicit log_ring_writer(log_ring_header& ring) noexcept;

    /// The longest frame it takes.
    [[nodiscard]] std::size_t frame_bytes_max() const noexcept { return data_bytes_ / 4; }

    /// Contiguous memory for a frame of `bytes`, a multiple of 8, at most frame_bytes_max; null
    /// where there is no room, or where it is time to look (see checkpoint).
    [[nodiscard]] char* reserve(std::size_t bytes) noexcept {
        if (head_ + bytes <= limit_) [[likely]] {
            return data_ + (head_ & (data_bytes_ - 1));
        }
        return nullptr;
    }

    /// What reserve could not do: begins a new lap, looks at the consumer's place. Null where there
    /// is no room indeed. `half_full` is set where at least half of the ring is in use: the moment
    /// to wake a consumer that naps.
    [[nodiscard]] char* reserve_slowly(std::size_t bytes, bool& half_full) noexcept;

    /// The frame of `bytes` at the place that was reserved is whole.
    [[gnu::always_inline]] void commit(std::size_t bytes) noexcept {
        head_ += bytes;
        sequence_.store(sequence() + 1, std::memory_order_relaxed);
        ring_->head.store(head_, std::memory_order_release);
        // The consumer has read the lines that come, so they are not this processor's to write:
        // asked for now, they are by the time they are needed. Addresses behind the ring are let
        // be.
        const char* const ahead = data_ + (head_ & (data_bytes_ - 1)) + prefetch_ahead_bytes;
        prefetch_for_write(ahead);
        prefetch_for_write(ahead + 64);
    }

    /// Gives up the oldest records until a frame of `bytes` fits. False where the consumer reads
    /// them just now.
    [[nodiscard]] bool drop_oldest(std::size_t bytes) noexcept;

    /// The number of the record that comes next. Any thread; one that has seen the head or a drop
    /// sees the number that belongs to it, or a later one.
    [[nodiscard]] std::uint64_t sequence() const noexcept {
        return sequence_.load(std::memory_order_relaxed);
    }

    /// The record that would have come next is not to come.
    void drop(drop_reason why) noexcept;

    /// Sleeps until the consumer has made room, or until the deadline (CLOCK_MONOTONIC,
    /// nanoseconds; a negative one never comes), or until `stop` is set and the reader has called
    /// wake_producer(). May return early.
    void wait_for_room(std::int64_t deadline_ns, const std::atomic<bool>& stop) noexcept;

    /// Whether at least half of the ring is free. Looks at the consumer's place where that is not
    /// known to be so.
    [[nodiscard]] bool has_room() noexcept {
        if (head_ > room_until_) [[unlikely]] {
            room_until_ = tail() + data_bytes_ / 2;
        }
        return head_ <= room_until_;
    }

    /// The consumer is to say (see log_ring_reader::end) when at least half of the ring is free.
    /// False where it is already.
    [[nodiscard]] bool ask_for_room() noexcept;

  private:
    [[nodiscard]] std::uint64_t tail() const noexcept {
        return ring_->tail.load(std::memory_order_acquire) & ~log_ring_header::tail_is_read;
    }

    [[nodiscard]] std::uint64_t lap_end() const noexcept { return (head_ | (data_bytes_ - 1)) + 1; }

    static void prefetch_for_write(const char* at) noexcept {
#if defined(__x86_64__)
        // Without -mprfchw the compiler makes it a prefetch for reading. Old processors ignore it.
        asm volatile("prefetchw %0" : : "m"(*at)); // NOLINT: not in C++ otherwise
#else
        __builtin_prefetch(at, 1);
#endif
    }

    void set_limit(std::uint64_t tail) noexcept;

    static constexpr std::size_t prefetch_ahead_bytes = 256;

    log_ring_header* ring_;
    char* data_;
    std::uint64_t data_bytes_;
    std::uint64_t head_;
    /// Up to here there is room for sure.
    std::uint64_t limit_;
    /// Up to here half of it is free for sure.
    std::uint64_t room_until_ = 0;
    std::atomic<std::uint64_t> sequence_{0};
};

/// The consumer's end: takes frames between begin() and end(). One thread at a time.
class log_ring_reader {
  public:
    explicit log_ring_reader(log_ring_header& ring) noexcept;

    /// Looks at what there is, and keeps it from being dropped. True where there is something.
    bool begin() noexcept;

    /// begin(), whether or not one has been interrupted since: by a crash of the reader's thread.
    void begin_again() noexcept;

    /// The first frame that has not been taken; null where there is none.
    [[nodiscard]] const log_frame* front() noexcept {
        if (at_ < limit_) [[likely]] {
            const char* const place = data_ + (at_ & (data_bytes_ - 1));
            const auto* const frame = reinterpret_cast<const log_frame*>(place);
            if (is_sound(*frame, limit_ - at_)) [[likely]] {
                return frame;
            }
        }
        return front_of_next_lap();
    }

    void pop(const log_frame& front) noexcept {
        at_ += front.bytes;
        // What comes is in the cache of the processor that has written it, and each frame's place
        // is known by the one before only. Addresses behind the ring are let be.
        const char* const ahead = data_ + (at_ & (data_bytes_ - 1)) + prefetch_ahead_bytes;
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + 64);
    }

    /// Gives the memory of what was taken back, and wakes a producer that waits for it. True where
    /// it is a task that waits, which is the caller's to wake.
    bool end() noexcept;

    /// The same where perhaps none has begun: then the tail is the producer's to move, and stays.
    bool end_if_begun() noexcept;

    /// Ends the producer's wait for room, be there any or not. Returns what end() does.
    bool wake_producer() noexcept;

    /// Bytes committed and not taken.
    [[nodiscard]] std::size_t used() const noexcept;

    /// One after the number of the newest record that is known to be dropped. To be asked before
    /// begin(): what is in the ring then is all that came before.
    [[nodiscard]] std::uint64_t dropped_through() const noexcept {
        return ring_->dropped_through.load(std::memory_order_acquire);
    }

    [[nodiscard]] std::uint64_t drops(drop_reason why) const noexcept {
        return ring_->drops[static_cast<std::size_t>(why)].load(std::memory_order_acquire);
    }

    /// Bytes that could not be understood, and were skipped.
    [[nodiscard]] std::uint64_t corrupt_bytes() const noexcept { return corrupt_bytes_; }

  private:
    /// Whether all of it is within the `room` that there is, and its parts within it. What was
    /// written over by somebody may be anything.
    [[nodiscard]] static bool is_sound(const log_frame& frame, std::uint64_t room) noexcept {
        return frame.bytes >= sizeof(log_frame) && frame.bytes <= room && frame.bytes % 8 == 0 &&
               std::uint64_t{frame.message_bytes} + (frame.flags >> log_frame::padding_shift) <=
                   frame.bytes - sizeof(log_frame);
    }

    const log_frame* front_of_next_lap() noexcept;
    void set_limit() noexcept;
    void give_up() noexcept;

    static constexpr std::size_t prefetch_ahead_bytes = 512;

    log_ring_header* ring_;
    const char* data_;
    std::uint64_t data_bytes_;
    std::uint64_t at_;
    std::uint64_t head_;
    /// The head, or the end of the lap before it.
    std::uint64_t limit_;
    std::uint64_t corrupt_bytes_ = 0;
};

} // namespace sapwood::detail
