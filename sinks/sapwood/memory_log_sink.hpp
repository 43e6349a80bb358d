// Sinks that keep lines in the process: in memory, for a function of the program's, for nobody.
#pragma once

#include <sapwood/log_sink.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace sapwood {

/// The newest lines, up to a number of bytes. Shared between the sink and who reads it; any thread.
class log_memory {
  public:
    /// Keeps at least the newest `bytes_max` bytes of lines, and at most twice as many.
    explicit log_memory(std::size_t bytes_max = 1u << 20) : bytes_max_(bytes_max) {}

    /// What is there, the oldest line first.
    [[nodiscard]] std::string text() const;

    /// Lines that made room for newer ones.
    [[nodiscard]] std::uint64_t lines_dropped() const;

    void append(std::string_view lines);

  private:
    const std::size_t bytes_max_;
    mutable std::mutex mutex_;
    std::string text_;
    std::uint64_t dropped_ = 0;
};

class memory_log_sink final : public log_sink {
  public:
    explicit memory_log_sink(std::shared_ptr<log_memory> to) : to_(std::move(to)) {}

    [[nodiscard]] task<> open() override;
    [[nodiscard]] task<> write(std::span<const char> lines) override;
    [[nodiscard]] task<> close() override;

    [[nodiscard]] std::string describe() const override { return "memory"; }

  private:
    std::shared_ptr<log_memory> to_;
};

/// Calls a function, on the consumer's thread, with whole lines. What it throws counts as a failure
/// to write: the lines come again.
class callback_log_sink final : public log_sink {
  public:
    explicit callback_log_sink(std::function<void(std::string_view lines)> call)
        : call_(std::move(call)) {}

    [[nodiscard]] task<> open() override;
    [[nodiscard]] task<> write(std::span<const char> lines) override;
    [[nodiscard]] task<> close() override;

    [[nodiscard]] std::string describe() const override { return "callback"; }

  private:
    std::function<void(std::string_view)> call_;
};

/// Takes everything and keeps nothing.
class null_log_sink final : public log_sink {
  public:
    [[nodiscard]] task<> open() override;
    [[nodiscard]] task<> write(std::span<const char> lines) override;
    [[nodiscard]] task<> close() override;

    [[nodiscard]] std::string describe() const override { return "null"; }
};

} // namespace sapwood
