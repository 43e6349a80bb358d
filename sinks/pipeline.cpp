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

const pipeline_options& validated(const pipeline_options& options) {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw std::invalid_argument(fmt::format("pipeline_options: {}", what));
        }
    };
    require(options.queue_records > 0 && options.queue_records <= channel<record>::capacity_max,
            "queue_records must be 1 to 2^30");
    require(options.batch_bytes > 0, "batch_bytes must be at least 1");
    require(options.linger >= clock::duration::zero(), "linger must not be negative");
    return options;
}

} // namespace

/// What the pipeline and its two coroutines share. `collect` moves records from the channel into
/// the batch that fills; `write_out` takes that batch when it is time and gives it to the sink.
/// Both are shielded: told to stop, they close the channel, and run until it is drained and all of
/// it is written. Neither may fail: what goes wrong is kept in failure_, and lines are counted.
class pipeline::consumer final : public stop_listener {
  public:
    consumer(file_sink sink, const pipeline_options& options)
        : linger_(options.linger),
          form_(options.form),
          queue(options.queue_records),
          sink_(std::move(sink)),
          one_(options.batch_bytes, options.form),
          other_(options.batch_bytes, options.form) {}

    static void start(const std::shared_ptr<consumer>& self) {
        spawn_shielded(collect(self), *self).detach();
        try {
            spawn_shielded(write_out(self), *self).detach();
        } catch (...) {
            self->queue.close(); // ends collect
            throw;
        }
    }

    void stop_requested() noexcept override { queue.close(); }

    // Both keep the consumer: the pipeline may be destroyed while they wait.

    static task<> flush(std::shared_ptr<consumer> self) {
        consumer& me = *self;
        // What other threads have sent takes turns with records that come later: counting it is
        // not enough.
        me.queue.note_pending();
        while (!me.queue.noted_are_in()) {
            co_await me.batch_done_.wait();
        }
        const std::uint64_t target = me.records_done_ + me.queue.unfinished();
        while (me.records_done_ < target) {
            co_await me.batch_done_.wait();
        }
        me.rethrow_failure();
    }

    static task<> close(std::shared_ptr<consumer> self) {
        consumer& me = *self;
        me.is_close_awaited_ = true;
        me.queue.close();
        co_await me.finished_.wait();
        me.rethrow_failure();
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

    void on_loss(std::function<void(const std::string&)> tell) { on_loss_ = std::move(tell); }

    // What collect receives goes into the batch that fills at that moment: while collect waits for
    // a record, write_out may have taken the batch that was there when the wait began.

    [[nodiscard]] bool full() const noexcept { return filling_->full(); }

    /// A record that cannot be rendered for want of memory is lost, and only that one.
    void push_back(record&& item) noexcept {
        ++counts_.records;
        try {
            filling_->push_back(std::move(item));
        } catch (...) {
            ++records_unrendered_;
            counts_.lines_lost += filling_->lines_of(item);
        }
    }

  private:
    static task<> collect(std::shared_ptr<consumer> self) {
        consumer& me = *self;
        for (;;) {
            while (me.full()) {
                me.batch_taken_.reset();
                co_await me.batch_taken_.wait();
            }
            if (!(co_await as_result(me.queue.receive_many(me, records_per_visit)))) {
                break; // closed and drained
            }
            me.has_work_.set();
            if (me.full()) {
                me.gather_no_longer();
            }
        }
        me.no_more_ = true;
        me.has_work_.set();
        me.gather_no_longer();
    }

    static task<> write_out(std::shared_ptr<consumer> self) {
        consumer& me = *self;
        for (;;) {
            co_await me.has_work_.wait();
            if (me.filling_->empty()) {
                me.done(std::exchange(me.records_unrendered_, 0));
                if (me.no_more_) {
                    break;
                }
                me.has_work_.reset();
                continue;
            }
            // Let the batch fill until it is full, until nobody has anything else to do, or until
            // the linger is over.
            if (!me.full() && !me.no_more_) {
                auto quiet = idle(me.linger_);
                me.gathering_ = &quiet;
                try {
                    co_await quiet;
                } catch (const std::bad_alloc&) {
                    // No timer to be had: then at once.
                }
                me.gathering_ = nullptr;
            }
            std::swap(me.filling_, me.writing_);
            me.batch_taken_.set();
            std::size_t kept = 0;
            if (!me.failure_) {
                try {
                    co_await me.follow_file();
                    co_await me.sink_.write(me.writing_->bytes());
                    kept = me.writing_->bytes().size();
                } catch (const write_error& error) {
                    kept = error.bytes_kept;
                    me.fail(std::current_exception(), error.code());
                } catch (const std::bad_alloc&) {
                    me.fail(std::current_exception(),
                            std::make_error_code(std::errc::not_enough_memory));
                } catch (...) {
                    me.fail(std::current_exception(), std::make_error_code(std::errc::io_error));
                }
            }
            me.account(kept);
        }
        try {
            co_await me.sink_.close();
        } catch (...) {
            me.fail(std::current_exception(), std::make_error_code(std::errc::io_error));
        }
        me.report_loss();
        me.finished_.set();
    }

    /// Where the log goes on in another file, that one says so, if its lines are ours to make.
    task<> follow_file() {
        if (!sink_.follow_is_due()) {
            co_return;
        }
        const log_news news = co_await sink_.follow();
        if (!news) {
            co_return;
        }
        if (form_ == layout::verbatim || news.importance >= level::warning) {
            std::fprintf(stderr, "sapwood: %s\n", news.text.c_str());
        }
        if (form_ == layout::plain) {
            batch line(news.text.size(), form_);
            line.push_back(record(news.importance, 0, news.text));
            try {
                co_await sink_.write(line.bytes());
            } catch (const write_error&) {
                // The batch meets the same failure, and tells of it.
            }
        }
    }

    void gather_no_longer() noexcept {
        if (gathering_ != nullptr) {
            gathering_->wake();
        }
    }

    /// The batch has been given to the sink, which has `kept` bytes of it.
    void account(std::size_t kept) noexcept {
        const std::size_t lines_kept = writing_->lines_within(kept);
        counts_.bytes_written += kept;
        counts_.lines_written += lines_kept;
        counts_.lines_lost += writing_->lines() - lines_kept;
        counts_.batches_written += kept > 0 ? 1 : 0;
        done(writing_->records() + std::exchange(records_unrendered_, 0));
        writing_->clear();
    }

    /// From now on nothing is written; producers are told.
    void fail(std::exception_ptr failure, std::error_code code) noexcept {
        if (!failure_) {
            failure_ = std::move(failure);
        }
        queue.close(code);
    }

    void done(std::size_t records) noexcept {
        records_done_ += records;
        queue.task_done(records);
        batch_done_.set();
        batch_done_.reset(); // whoever waits for more looks and waits again
    }

    void report_loss() const noexcept {
        const bool nobody_knows = failure_ && !is_close_awaited_;
        if (counts_.lines_lost == 0 && !nobody_knows) {
            return;
        }
        try {
            std::string why = "out of memory for " + sink_.path();
            try {
                rethrow_failure();
            } catch (const std::exception& failure) {
                why = failure.what();
            }
            const auto message = fmt::format("{}; {} lines were lost", why, counts_.lines_lost);
            if (on_loss_) {
                on_loss_(message);
            } else {
                std::fprintf(stderr, "sapwood: %s\n", message.c_str());
            }
        } catch (...) {
            std::fprintf(stderr, "sapwood: %llu log lines were lost\n",
                         static_cast<unsigned long long>(counts_.lines_lost));
        }
    }

    const clock::duration linger_;
    const layout form_;

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
    bool is_close_awaited_ = false;
    std::exception_ptr failure_;
    std::uint64_t records_done_ = 0;
    /// Received, not in a batch, and not done yet.
    std::size_t records_unrendered_ = 0;
    pipeline_counts counts_;
    std::function<void(const std::string&)> on_loss_;
};

pipeline::pipeline(file_sink sink, pipeline_options options)
    : consumer_(std::make_shared<consumer>(std::move(sink), validated(options))) {
    consumer::start(consumer_);
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
    return consumer::flush(consumer_);
}

task<> pipeline::close() {
    return consumer::close(consumer_);
}

pipeline_counts pipeline::counts() const noexcept {
    return consumer_->counts();
}

void pipeline::on_loss(std::function<void(const std::string& message)> tell) {
    consumer_->on_loss(std::move(tell));
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
