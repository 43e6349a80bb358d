// How much of a batch is kept that was written in part: told, without memory, too, by an error that
// is made before. One coroutine.
#pragma once

#include <sapwood/file_sink.hpp>

#include <cstddef>
#include <exception>
#include <string>
#include <system_error>

namespace sapwood::detail {

class parts_kept {
  public:
    /// Of a batch into the file of that path. Throws std::bad_alloc.
    explicit parts_kept(const std::string& path)
        : failure_(std::make_exception_ptr(write_error(
              std::make_error_code(std::errc::not_enough_memory), "cannot write " + path, 0))) {
        try {
            std::rethrow_exception(failure_);
        } catch (write_error& error) {
            error_ = &error;
        }
    }

    parts_kept(const parts_kept&) = delete;
    parts_kept& operator=(const parts_kept&) = delete;

    [[nodiscard]] std::size_t bytes() const noexcept { return error_->bytes_kept; }

    void go_on(std::size_t more) noexcept { error_->bytes_kept += more; }

    /// In place of the std::bad_alloc that is being handled, unless nothing was kept.
    [[noreturn]] void rethrow() const {
        if (bytes() == 0) {
            throw;
        }
        std::rethrow_exception(failure_);
    }

    /// The same, of a batch of which so much is kept, whatever was kept of others.
    [[noreturn]] void rethrow(std::size_t kept) const {
        error_->bytes_kept = kept;
        rethrow();
    }

  private:
    std::exception_ptr failure_;
    /// In failure_.
    write_error* error_ = nullptr;
};

} // namespace sapwood::detail
