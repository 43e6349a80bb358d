// The names of a log's loggers, by number. Any thread, and a signal handler.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::detail {

class log_names {
  public:
    log_names() { names_.push_back(std::make_unique<std::string>()); }

    /// Held while the process is doubled.
    [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }

    /// Throws std::length_error past 65535 names.
    [[nodiscard]] std::uint16_t add(std::string_view name);

    [[nodiscard]] std::string_view of(std::uint16_t id) const {
        const std::lock_guard lock(mutex_);
        return id < names_.size() ? std::string_view(*names_[id]) : std::string_view("unknown");
    }

    /// Of a signal handler, which cannot wait for the lock. Empty where somebody holds it.
    [[nodiscard]] std::string_view name_in_crash(std::uint16_t id) const noexcept {
        if (!mutex_.try_lock()) {
            return {};
        }
        const std::string_view name = id < names_.size() ? std::string_view(*names_[id]) : "";
        mutex_.unlock();
        return name;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<std::unique_ptr<std::string>> names_; // never removed: views of them stay good
};

} // namespace sapwood::detail
