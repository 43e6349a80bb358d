// buffer_watch: in address sanitizer builds, whether everything that a submitted SQE points to is
// there when the ring gets it and still there when it is done. No sanitizer sees the kernel's own
// reads and writes, so freed memory would be written silently. In other builds it is empty and
// costs nothing. Loop thread only.
#pragma once

#include <sapwood/sanitizers.hpp>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <liburing.h>
#include <new>
#include <unordered_map>

namespace sapwood::detail {

#if SAPWOOD_ADDRESS_SANITIZER

class buffer_watch {
  public:
    /// Asserts that what `sqe` names is alive. `sqe.user_data` says whose it is.
    void submitted(const io_uring_sqe& sqe) noexcept;

    /// The same at a completion; with IORING_CQE_F_MORE in `flags` there will be another one.
    void completed(std::uint64_t user_data, std::uint32_t flags) noexcept;

  private:
    /// Not operator new: tests count its calls, and have it fail.
    template <class T>
    struct uncounted {
        using value_type = T;

        uncounted() = default;

        template <class U>
        uncounted(const uncounted<U>&) noexcept {}

        T* allocate(std::size_t count) {
            void* const memory = std::malloc(count * sizeof(T));
            if (memory == nullptr) {
                throw std::bad_alloc();
            }
            return static_cast<T*>(memory);
        }

        void deallocate(T* memory, std::size_t) noexcept { std::free(memory); }

        friend bool operator==(const uncounted&, const uncounted&) = default;
    };

    std::unordered_map<std::uint64_t, io_uring_sqe, std::hash<std::uint64_t>, std::equal_to<>,
                       uncounted<std::pair<const std::uint64_t, io_uring_sqe>>>
        in_flight_;
};

#else

class buffer_watch {
  public:
    void submitted(const io_uring_sqe&) noexcept {}

    void completed(std::uint64_t, std::uint32_t) noexcept {}
};

#endif

} // namespace sapwood::detail
