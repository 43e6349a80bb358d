#include "tiny_log.hpp"

#include <sapwood/sleep.hpp>

#include <chrono>
#include <fmt/format.h>
#include <system_error>
#include <utility>

namespace sapwood::simulation {

namespace {

constexpr int attempts_max = 3;

} // namespace

task<> tiny_log::run() {
    std::string text;
    for (;;) {
        while (pending_.empty()) {
            if (is_closed_) {
                if (segment_.is_open()) {
                    (void)co_await as_result(segment_.close());
                }
                co_return;
            }
            has_work_.reset();
            co_await has_work_.wait();
        }
        batch_.swap(pending_);
        text.clear();
        for (const waiting* const each : batch_) {
            text.append(each->line) += '\n';
        }
        bool is_durable = false;
        for (int attempt = 0; attempt < attempts_max && !is_durable; ++attempt) {
            bool has_failed = false;
            try {
                is_durable = co_await commit(text);
            } catch (const std::system_error&) {
                has_failed = true;
            }
            if (has_failed) {
                co_await give_up_segment();
                co_await sleep_for(std::chrono::milliseconds(1));
            }
        }
        tell(batch_, is_durable || mistake_ == mistake::acknowledges_failed_batch);
    }
}

task<bool> tiny_log::commit(const std::string& text) {
    if (!segment_.is_open()) {
        co_await begin_segment();
    }
    if (mistake_ == mistake::ignores_short_write) {
        (void)co_await segment_.write_some(text);
    } else {
        co_await segment_.write_all(text);
    }
    if (mistake_ == mistake::acknowledges_before_sync) {
        tell(batch_, true);
    }
    if (mistake_ == mistake::retries_sync) {
        const auto synced = co_await as_result(segment_.datasync());
        if (synced) {
            co_return true;
        }
        if (synced.error() == std::errc::operation_canceled) {
            throw cancelled{};
        }
    }
    co_await segment_.datasync();
    co_return true;
}

task<> tiny_log::begin_segment() {
    for (;;) {
        std::string name = fmt::format("{}.{:03}", path_, segments_);
        ++segments_;
        auto made = co_await as_result(
            file::open(std::move(name), {.flags = O_WRONLY | O_APPEND | O_CREAT | O_EXCL}));
        if (made) {
            segment_ = std::move(*made);
            break;
        }
        if (made.error() == std::errc::operation_canceled) {
            throw cancelled{}; // which is told only once
        }
        if (made.error() != std::errc::file_exists) {
            --segments_;
            throw std::system_error(made.error());
        }
    }
    if (mistake_ != mistake::forgets_directory_sync) {
        file folder = co_await file::open("/", {.flags = O_RDONLY | O_DIRECTORY});
        co_await folder.sync();
    }
}

/// It may have anything at its end.
task<> tiny_log::give_up_segment() {
    if (segment_.is_open()) {
        (void)co_await as_result(segment_.close());
    }
}

void tiny_log::tell(std::vector<waiting*>& batch, bool is_durable) {
    for (waiting* const each : batch) {
        each->is_durable = is_durable;
        each->done.set();
    }
    batch.clear();
}

task<bool> tiny_log::append(std::string_view line) {
    waiting self{.line = line, .is_durable = false, .done = {}};
    pending_.push_back(&self);
    has_work_.set();
    try {
        co_await self.done.wait();
    } catch (...) {
        std::erase(pending_, &self);
        std::erase(batch_, &self);
        throw;
    }
    co_return self.is_durable;
}

void tiny_log::close() {
    is_closed_ = true;
    has_work_.set();
}

} // namespace sapwood::simulation
