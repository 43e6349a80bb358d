#include "receive_buffers.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <sys/mman.h>

namespace sapwood::detail {

namespace {

/// The kernel wants whole pages.
constexpr std::size_t entries_bytes = receive_buffers::count * sizeof(io_uring_buf);

/// Buffers a power of two apart would all begin in the same few cache lines.
constexpr std::size_t stride = receive_buffers::piece_bytes_max + 128;

constexpr std::size_t memory_bytes = entries_bytes + receive_buffers::count * stride;

static_assert(entries_bytes % 4096 == 0);

} // namespace

receive_buffers::receive_buffers() : slots_(std::make_unique<received_slot[]>(count)) {
    // Pages that are never touched cost nothing.
    void* const mapped =
        ::mmap(nullptr, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
        throw std::bad_alloc();
    }
    memory_ = static_cast<char*>(mapped);
    entries_ = ::new (mapped) io_uring_buf_ring;
    ::io_uring_buf_ring_init(entries_);
    for (std::uint16_t id = count; id-- > 0;) {
        slots_[id].of = this;
        slots_[id].data = memory_ + entries_bytes + id * stride;
        slots_[id].id = id;
        slots_[id].next = std::exchange(spare_, &slots_[id]);
    }
    while (offered() < wanted_) {
        offer_spare();
    }
}

receive_buffers::~receive_buffers() {
    ::munmap(memory_, memory_bytes);
}

void receive_buffers::retire() noexcept {
    is_retired_ = true;
    delete_if_unused();
}

void receive_buffers::delete_if_unused() noexcept {
    if (lent_ == 0) {
        delete this;
    }
}

received_slot* receive_buffers::allocate(std::size_t bytes) noexcept {
    void* const memory = std::malloc(sizeof(received_slot) + bytes);
    if (memory == nullptr) {
        return nullptr;
    }
    auto* const slot = ::new (memory) received_slot;
    slot->data = reinterpret_cast<char*>(slot + 1);
    return slot;
}

received_slot& receive_buffers::copy_out(received_slot& slot) noexcept {
    received_slot* const copy = allocate(slot.size);
    if (copy == nullptr) {
        return slot;
    }
    std::memcpy(copy->data, slot.data, slot.size);
    copy->size = slot.size;
    slot.of->give_back(slot);
    return *copy;
}

void give_back(received_slot& slot) noexcept {
    if (slot.of != nullptr) {
        slot.of->give_back(slot);
    } else {
        std::free(&slot);
    }
}

} // namespace sapwood::detail

namespace sapwood {

received received::with_room(std::size_t bytes) {
    detail::received_slot* const slot = detail::receive_buffers::allocate(bytes);
    if (slot == nullptr) {
        throw std::bad_alloc();
    }
    slot->size = static_cast<std::uint32_t>(bytes);
    return received(slot);
}

} // namespace sapwood
