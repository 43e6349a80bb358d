#include <sapwood/pipeline.hpp>

#include <sapwood/errors.hpp>
#include <sapwood/event.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <cstdio>
#include <fmt/format.h>
#include <stdexcept>

namespace sapwood {

namespace {

/// Records that the consumer takes in one visit to the channel: enough to make the visit cheap,
/// few enough that a batch is not much longer than it should be.
constexpr std::size_t records_per_visit = 128;

pipeline_options validated(pipeline_options options) {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw std::invalid_argument(fmt::format("pipeline_options: {}", what));
        }
    };
    require(options.queue_records > 0, "queue_records must be at least 1");
    require(options.batch_bytes > 0, "batch_bytes must be at least 1");
    require(options.linger >= clock::duration::zero(), "linger must not be negative");
    return options;
}

} // namespace

/// What the pipeline and its two coroutines share. `collect` moves records from the channel into
/// the batch that fills; `write_out` takes that batch when it is time and gives it to the sink.
/// Both run until the channel is closed and drained, also when they are cancelled, which only
/// closes the channel: what was accepted is written.
class pipeline::consumer {
  public:
    consumer(file_sink sink, pipeline_options options)
        : options_(std::move(options)),
          queue(options_.queue_records),
          sink_(std::move(sink)),
          one_(options_.batch_bytes, options_.form),
          other_(options_.batch_bytes, options_.form) {}

    /// What collect receives goes into the batch that fills at that moment: while collect waits
    /// for a record, write_out may have taken the batch that was there when the wait began.
    void push_back(record&& item) { filling_->push_back(std::move(item)); }

    static task<> collect(std::shared_ptr<consumer> self) { co_await self->collect(); }

    static task<> write_out(std::shared_ptr<consumer> self) { co_await self->write_out(); }

    task<> flush() {
        const std::uint64_t target = records_done_ + queue.unfinished();
        while (records_done_ < target) {
            co_await batch_done_.wait();
        }
        rethrow_failure();
    }

    task<> close() {
        queue.close();
        co_await finished_.wait();
        rethrow_failure();
    }

    [[nodiscard]] pipeline_counts counts() const noexcept {
        pipeline_counts now = counts_;
        now.queued = queue.size();
        return now;
    }

    [[nodiscard]] const file_sink& sink() const noexcept { return sink_; }

    [[nodiscard]] const std::exception_ptr& failure() const noexcept { return failure_; }

    void rethrow_failure() const {
        if (failure_) {
            std::rethrow_exception(failure_);
        }
    }

  private:
    task<> collect() {
        for (;;) {
            while (filling_->full()) {
                batch_taken_.reset();
                (void)co_await as_result(batch_taken_.wait());
            }
            std::size_t count = 0;
            try {
                count = co_await queue.receive_many(*this, records_per_visit);
            } catch (const cancelled&) {
                queue.close();
                continue;
            } catch (const std::system_error&) {
                break; // closed and drained
            } catch (...) {
                fail(std::current_exception(), std::make_error_code(std::errc::not_enough_memory));
                discard_queue();
                continue;
            }
            counts_.records += count;
            has_work_.set();
            if (filling_->full()) {
                gather_no_longer();
            }
        }
        no_more_ = true;
        has_work_.set();
        gather_no_longer();
    }

    task<> write_out() {
        for (;;) {
            while (!(co_await as_result(has_work_.wait()))) {
            }
            if (filling_->empty()) {
                if (no_more_) {
                    break;
                }
                has_work_.reset();
                continue;
            }
            if (!filling_->full() && !no_more_) {
                co_await gather();
            }
            std::swap(filling_, writing_);
            batch_taken_.set();
            co_await write_batch();
        }
        const auto closed = co_await as_result_of_close();
        if (!closed && !failure_) {
            failure_ = std::make_exception_ptr(
                std::system_error(closed.error(), "cannot close " + sink_.path()));
        }
        report_loss();
        finished_.set();
    }

    /// Lets the batch fill until it is full, until nobody has anything else to do, or until the
    /// linger is over.
    task<> gather() {
        auto quiet = idle(options_.linger);
        gathering_ = &quiet;
        (void)co_await as_result(std::move(quiet));
        gathering_ = nullptr;
    }

    void gather_no_longer() noexcept {
        if (gathering_ != nullptr) {
            gathering_->wake();
        }
    }

    /// Writes the batch, or loses it where the sink has failed; either way its records are done.
    task<> write_batch() {
        const auto bytes = writing_->bytes();
        std::size_t kept = 0;
        if (!failure_) {
            try {
                co_await sink_.write(bytes);
                kept = bytes.size();
                ++counts_.batches_written;
            } catch (const write_error& error) {
                kept = error.bytes_kept;
                fail(std::current_exception(), error.code());
            } catch (...) {
                fail(std::current_exception(), std::make_error_code(std::errc::io_error));
            }
        }
        const std::size_t lines_kept = writing_->lines_within(kept);
        counts_.bytes_written += kept;
        counts_.lines_written += lines_kept;
        if (kept < bytes.size()) {
            counts_.lines_lost += writing_->lines_within(bytes.size()) - lines_kept;
        }
        done(writing_->records());
        writing_->clear();
    }

    task<result<void>> as_result_of_close() {
        try {
            co_await sink_.close();
        } catch (const std::system_error& error) {
            co_return error.code();
        }
        co_return result<void>();
    }

    /// From now on nothing is written; producers are told.
    void fail(std::exception_ptr failure, std::error_code code) noexcept {
        if (!failure_) {
            failure_ = std::move(failure);
        }
        queue.close(code);
    }

    void discard_queue() noexcept {
        while (const auto item = queue.try_receive()) {
            ++counts_.records;
            ++counts_.lines_lost;
            done(1);
        }
    }

    void done(std::size_t records) noexcept {
        records_done_ += records;
        queue.task_done(records);
        batch_done_.set();
        batch_done_.reset(); // whoever waits for more looks and waits again
    }

    void report_loss() const noexcept {
        if (counts_.lines_lost == 0) {
            return;
        }
        try {
            std::string why = "unknown reason";
            try {
                rethrow_failure();
            } catch (const std::exception& failure) {
                why = failure.what();
            }
            const auto message = fmt::format("{}; {} lines were lost", why, counts_.lines_lost);
            if (options_.on_loss) {
                options_.on_loss(message);
            } else {
                std::fprintf(stderr, "sapwood: %s\n", message.c_str());
            }
        } catch (...) {
            std::fprintf(stderr, "sapwood: %llu log lines were lost\n",
                         static_cast<unsigned long long>(counts_.lines_lost));
        }
    }

    const pipeline_options options_;

  public:
    channel<record> queue;

  private:
    file_sink sink_;
    batch one_;
    batch other_;
    batch* filling_ = &one_;
    batch* writing_ = &other_;
    /// There is something in the batch that fills, or there never will be again.
    event has_work_;
    event batch_taken_;
    event batch_done_;
    event finished_;
    detail::idle_awaiter* gathering_ = nullptr;
    bool no_more_ = false;
    std::exception_ptr failure_;
    std::uint64_t records_done_ = 0;
    pipeline_counts counts_;
};

pipeline::pipeline(file_sink sink, pipeline_options options)
    : consumer_(std::make_shared<consumer>(std::move(sink), validated(std::move(options)))) {
    spawn(consumer::collect(consumer_)).detach();
    spawn(consumer::write_out(consumer_)).detach();
}

pipeline::~pipeline() {
    if (consumer_ != nullptr) {
        consumer_->queue.close();
    }
}

pipeline::append_awaiter pipeline::append(record&& item) noexcept {
    return {*consumer_, item};
}

bool pipeline::try_append(record&& item) {
    consumer_->rethrow_failure();
    return consumer_->queue.try_send(std::move(item));
}

remote_sender<record> pipeline::remote(std::size_t capacity) {
    return {consumer_->queue, capacity};
}

task<> pipeline::flush() {
    return consumer_->flush();
}

task<> pipeline::close() {
    return consumer_->close();
}

pipeline_counts pipeline::counts() const noexcept {
    return consumer_->counts();
}

const std::string& pipeline::path() const noexcept {
    return consumer_->sink().path();
}

// --- append ---

pipeline::append_awaiter::append_awaiter(consumer& to, record& what) noexcept
    : send_awaiter(to.queue, what),
      consumer_(&to) {}

void pipeline::append_awaiter::refused(std::error_code reason) noexcept {
    failure_ = std::exchange(consumer_, nullptr)->failure();
    send_awaiter::refused(reason);
}

void pipeline::append_awaiter::fail() {
    const auto failure = consumer_ != nullptr ? consumer_->failure() : failure_;
    if (failure) {
        std::rethrow_exception(failure);
    }
    throw std::system_error(reason_, "append to a pipeline that was closed");
}

} // namespace sapwood
