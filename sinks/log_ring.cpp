#include <sapwood/log_ring.hpp>

#include <sapwood/assert.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <ctime>
#include <linux/futex.h>
#include <new>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::detail {

namespace {

char* data_of(log_ring_header& ring) noexcept {
    return reinterpret_cast<char*>(&ring) + ring.header_bytes;
}

std::uint32_t first_word(const char* at) noexcept {
    std::uint32_t word = 0;
    std::memcpy(&word, at, sizeof(word));
    return word;
}

/// Not a private futex: the ring may be shared with another process.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                const timespec* until) noexcept {
    ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, expected, until, nullptr,
              FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(std::atomic<std::uint32_t>& word) noexcept {
    ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

} // namespace

bool is_log_ring(const void* memory, std::size_t bytes) noexcept {
    if (bytes < sizeof(log_ring_header) ||
        reinterpret_cast<std::uintptr_t>(memory) % alignof(log_ring_header) != 0) {
        return false;
    }
    const auto& header = *static_cast<const log_ring_header*>(memory);
    return header.magic == log_ring_header::magic_value &&
           header.version == log_ring_header::version_value &&
           header.header_bytes == sizeof(log_ring_header) &&
           std::has_single_bit(header.data_bytes) && header.data_bytes >= 4096 &&
           header.data_bytes <= bytes - sizeof(log_ring_header) &&
           bytes - sizeof(log_ring_header) - header.data_bytes >= log_ring_header::slack_bytes;
}

log_ring_memory::log_ring_memory(std::size_t data_bytes)
    : bytes_(sizeof(log_ring_header) + data_bytes + log_ring_header::slack_bytes) {
    SAPWOOD_ASSERT(std::has_single_bit(data_bytes) && data_bytes >= 4096,
                   "a log ring's size must be a power of two, and at least 4096");
    // Populated, so that no page fault comes between a thread and its records.
    void* const memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        throw std::system_error(errno, std::generic_category(),
                                "cannot get memory for a thread's log records");
    }
    header_ = ::new (memory) log_ring_header{};
    header_->magic = log_ring_header::magic_value;
    header_->version = log_ring_header::version_value;
    header_->header_bytes = sizeof(log_ring_header);
    header_->data_bytes = data_bytes;
    header_->process = ::getpid();
    header_->thread = static_cast<std::int32_t>(::syscall(SYS_gettid));
}

log_ring_memory::~log_ring_memory() {
    ::munmap(header_, bytes_);
}

// --- the producer ---

log_ring_writer::log_ring_writer(log_ring_header& ring) noexcept
    : ring_(&ring),
      data_(data_of(ring)),
      data_bytes_(ring.data_bytes),
      head_(ring.head.load(std::memory_order_relaxed)),
      limit_(head_) {}

void log_ring_writer::set_limit(std::uint64_t tail) noexcept {
    // Where less than half is in use, the next look is at the half: a consumer that naps is woken
    // there, long before there is no room.
    const std::uint64_t half = tail + data_bytes_ / 2;
    limit_ = std::min(lap_end(), head_ < half ? half : tail + data_bytes_);
}

char* log_ring_writer::reserve_slowly(std::size_t bytes, bool& half_full) noexcept {
    const std::uint64_t end = tail() + data_bytes_;
    const std::uint64_t rest = lap_end() - head_;
    const std::uint64_t skipped = rest < bytes ? rest : 0;
    half_full = end - head_ < data_bytes_ / 2 + skipped + bytes;
    if (head_ + skipped + bytes > end) {
        return nullptr;
    }
    if (skipped > 0) {
        const std::uint32_t mark = log_ring_header::skip_rest;
        std::memcpy(data_ + (head_ & (data_bytes_ - 1)), &mark, sizeof(mark));
        head_ += skipped; // published with the frame that comes
    }
    set_limit(end - data_bytes_);
    limit_ = std::max(limit_, head_ + bytes); // it fits, whatever is due at the half
    return data_ + (head_ & (data_bytes_ - 1));
}

bool log_ring_writer::drop_oldest(std::size_t bytes) noexcept {
    const std::uint64_t rest = lap_end() - head_;
    const std::uint64_t wanted = head_ + (rest < bytes ? rest : 0) + bytes - data_bytes_;
    std::uint64_t old_tail = ring_->tail.load(std::memory_order_acquire);
    if ((old_tail & log_ring_header::tail_is_read) != 0) {
        return false;
    }
    std::uint64_t tail = old_tail;
    std::uint64_t dropped = 0;
    const std::uint64_t committed = ring_->head.load(std::memory_order_relaxed);
    while (tail < wanted && tail < committed) {
        const std::uint32_t size = first_word(data_ + (tail & (data_bytes_ - 1)));
        if ((size & log_ring_header::skip_rest) != 0) {
            tail = (tail | (data_bytes_ - 1)) + 1;
        } else if (size < sizeof(log_frame)) {
            return false; // written over by somebody: it would never end
        } else {
            tail += size;
            ++dropped;
        }
    }
    if (tail < wanted ||
        !ring_->tail.compare_exchange_strong(old_tail, tail, std::memory_order_acq_rel)) {
        return false;
    }
    auto& count = ring_->drops[static_cast<std::size_t>(drop_reason::made_room)];
    count.store(count.load(std::memory_order_relaxed) + dropped, std::memory_order_release);
    return true;
}

void log_ring_writer::drop(drop_reason why) noexcept {
    auto& count = ring_->drops[static_cast<std::size_t>(why)];
    const std::uint64_t next = sequence() + 1;
    sequence_.store(next, std::memory_order_relaxed);
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    ring_->dropped_through.store(next, std::memory_order_release);
}

void log_ring_writer::wait_for_room(std::int64_t deadline_ns,
                                    const std::atomic<bool>& stop) noexcept {
    // The consumer stores the tail and then looks whether somebody waits; here it is the other way
    // round, so at least one of them sees the other.
    ring_->waits_for_room.exchange(1, std::memory_order_seq_cst);
    const std::uint64_t tail =
        ring_->tail.load(std::memory_order_seq_cst) & ~log_ring_header::tail_is_read;
    // A ring that was full is worth waking up for when half of it is free; no frame needs more.
    if (head_ - tail > data_bytes_ / 2 && !stop.load(std::memory_order_seq_cst)) {
        const timespec until{.tv_sec = deadline_ns / 1'000'000'000,
                             .tv_nsec = deadline_ns % 1'000'000'000};
        futex_wait(ring_->waits_for_room, 1, deadline_ns < 0 ? nullptr : &until);
    }
    ring_->waits_for_room.store(0, std::memory_order_relaxed);
}

bool log_ring_writer::ask_for_room() noexcept {
    ring_->waits_for_room.exchange(2, std::memory_order_seq_cst); // see wait_for_room
    const std::uint64_t tail =
        ring_->tail.load(std::memory_order_seq_cst) & ~log_ring_header::tail_is_read;
    if (head_ - tail > data_bytes_ / 2) {
        return true;
    }
    ring_->waits_for_room.store(0, std::memory_order_relaxed);
    return false;
}

// --- the consumer ---

log_ring_reader::log_ring_reader(log_ring_header& ring) noexcept
    : ring_(&ring),
      data_(data_of(ring)),
      data_bytes_(ring.data_bytes),
      at_(ring.tail.load(std::memory_order_relaxed) & ~log_ring_header::tail_is_read),
      head_(at_),
      limit_(at_) {}

bool log_ring_reader::begin() noexcept {
    head_ = ring_->head.load(std::memory_order_acquire);
    if (head_ == at_) {
        return false;
    }
    at_ = ring_->tail.fetch_or(log_ring_header::tail_is_read, std::memory_order_acq_rel) &
          ~log_ring_header::tail_is_read;
    // Before that the producer may have dropped all that was there, and committed more.
    head_ = ring_->head.load(std::memory_order_acquire);
    set_limit();
    if (head_ - at_ > data_bytes_ || ((head_ | at_) & 7) != 0) [[unlikely]] {
        give_up();
    }
    return true;
}

void log_ring_reader::begin_again() noexcept {
    if ((ring_->tail.load(std::memory_order_acquire) & log_ring_header::tail_is_read) != 0) {
        head_ = ring_->head.load(std::memory_order_acquire);
    } else {
        (void)begin();
    }
}

bool log_ring_reader::end() noexcept {
    ring_->tail.exchange(at_, std::memory_order_seq_cst); // see wait_for_room
    if (ring_->waits_for_room.load(std::memory_order_seq_cst) != 0 &&
        ring_->head.load(std::memory_order_relaxed) - at_ <= data_bytes_ / 2) {
        return wake_producer();
    }
    return false;
}

bool log_ring_reader::end_if_begun() noexcept {
    // Nobody but a reader sets the bit or takes it away.
    return (ring_->tail.load(std::memory_order_acquire) & log_ring_header::tail_is_read) != 0 &&
           end();
}

bool log_ring_reader::wake_producer() noexcept {
    if (ring_->waits_for_room.exchange(0, std::memory_order_seq_cst) == 2) {
        return true;
    }
    futex_wake(ring_->waits_for_room);
    return false;
}

std::size_t log_ring_reader::used() const noexcept {
    const std::uint64_t bytes =
        ring_->head.load(std::memory_order_acquire) -
        (ring_->tail.load(std::memory_order_relaxed) & ~log_ring_header::tail_is_read);
    return std::min(bytes, data_bytes_);
}

void log_ring_reader::set_limit() noexcept {
    limit_ = std::min(head_, (at_ | (data_bytes_ - 1)) + 1);
}

/// What there is was written over by somebody: where the next frame begins is unknown.
void log_ring_reader::give_up() noexcept {
    corrupt_bytes_ += std::min(head_ - at_, data_bytes_);
    at_ = head_;
    limit_ = head_;
}

const log_frame* log_ring_reader::front_of_next_lap() noexcept {
    if (at_ == head_) {
        return nullptr;
    }
    set_limit();
    const char* place = data_ + (at_ & (data_bytes_ - 1));
    const std::uint64_t next_lap = (at_ | (data_bytes_ - 1)) + 1;
    if (first_word(place) == log_ring_header::skip_rest && next_lap <= head_) {
        at_ = next_lap;
        if (at_ == head_) {
            return nullptr;
        }
        set_limit();
        place = data_;
    }
    const auto* const frame = reinterpret_cast<const log_frame*>(place);
    if (!is_sound(*frame, limit_ - at_)) {
        give_up();
        return nullptr;
    }
    return frame;
}

} // namespace sapwood::detail
