#include <sapwood/socket_log_sink.hpp>

#include "crash_handler.hpp"
#include "parts_kept.hpp"

#include <sapwood/shield.hpp>

#include <fmt/format.h>
#include <new>

namespace sapwood {

namespace {

constexpr std::int64_t gate_patience_ns = 50'000'000;

} // namespace

// Each says first that it is here, and looks then whether the other one is: at least one of them
// sees the other.

bool detail::crash_gate::enter() noexcept {
    is_inside_.store(true, std::memory_order_seq_cst);
    while (is_taken_.load(std::memory_order_seq_cst)) {
        is_inside_.store(false, std::memory_order_seq_cst);
        pause_in_crash();
        is_inside_.store(true, std::memory_order_seq_cst);
    }
    const unsigned visits = visits_.load(std::memory_order_acquire);
    return std::exchange(visits_seen_, visits) == visits;
}

void detail::crash_gate::take() noexcept {
    is_taken_.store(true, std::memory_order_seq_cst);
    visits_.fetch_add(1, std::memory_order_release);
    for (std::int64_t waited = 0;
         waited < gate_patience_ns && is_inside_.load(std::memory_order_seq_cst);
         waited += crash_pause_ns) {
        pause_in_crash();
    }
}

socket_log_sink::socket_log_sink() = default;
socket_log_sink::~socket_log_sink() = default;

task<> socket_log_sink::write(std::span<const char> lines) {
    struct over {
        std::atomic<const char*>& batch;

        ~over() { batch.store(nullptr, std::memory_order_release); }
    };

    const auto shielded = co_await shield();
    keep(0);
    if (untold_ == nullptr) {
        untold_ = std::make_unique<detail::parts_kept>(describe());
    }
    batch_.store(lines.data(), std::memory_order_release);
    const over at_end{batch_};
    try {
        co_await send({lines.data(), lines.size()});
    } catch (const std::exception&) {
        rethrow_kept();
    }
}

/// The exception that is being handled, with how much is kept, whatever there is no memory for.
void socket_log_sink::rethrow_kept() const {
    if (kept() == 0) {
        throw;
    }
    try {
        try {
            throw;
        } catch (const std::system_error& error) {
            throw write_error(error.code(), fmt::format("sending to {}", describe()), kept());
        }
    } catch (const std::bad_alloc&) {
        untold_->rethrow(kept());
    }
}

bool socket_log_sink::has_own_form(std::string_view) const noexcept {
    return false;
}

} // namespace sapwood
