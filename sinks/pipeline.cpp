#include <sapwood/pipeline.hpp>

#include "pipeline_consumer.hpp"

#include <sapwood/errors.hpp>

#include <fmt/format.h>
#include <stdexcept>

namespace sapwood {

namespace {

constexpr std::size_t unsynced_bytes_highest = 8u << 20;
/// An open looks so far back: the lines that are not synced, and a batch.
constexpr std::size_t unproven_bytes_highest = 8u << 20;

layout form_of(const pipeline_options& options) noexcept {
    if (options.form != layout::automatic) {
        return options.form;
    }
    return options.durable.is_none() ? layout::plain : layout::numbered;
}

when_refused refused_of(const pipeline_options& options) noexcept {
    if (options.refused != when_refused::automatic) {
        return options.refused;
    }
    return options.durable.is_none() ? when_refused::end : when_refused::block;
}

pipeline_options validated(const file_sink& sink, pipeline_options options) {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw std::invalid_argument(fmt::format("pipeline_options: {}", what));
        }
    };
    require(options.queue_records > 0 && options.queue_records <= channel<record>::capacity_max,
            "queue_records must be 1 to 2^30");
    require(options.batch_bytes > 0, "batch_bytes must be at least 1");
    require(options.batch_bytes <= unproven_bytes_highest, "batch_bytes must be at most 8 MiB");
    require(options.durable.is_none() ||
                options.unsynced_bytes_max + options.batch_bytes <= unproven_bytes_highest,
            "unsynced_bytes_max and batch_bytes must be at most 8 MiB together");
    require(options.linger >= clock::duration::zero(), "linger must not be negative");
    require(options.give_up_after >= clock::duration::zero(), "give_up_after must not be negative");
    // Recovery looks that far behind the last mark.
    require(options.unsynced_bytes_max <= unsynced_bytes_highest,
            "unsynced_bytes_max must be at most 8 MiB");
    options.form = form_of(options);
    options.refused = refused_of(options);
    require(options.form != layout::numbered || sink.is_numbered(),
            "form numbered, or a durability, needs a file_sink that was opened with "
            "file_sink_options::numbered");
    require(options.durable.is_none() || sink.syncs_directory(),
            "a durability needs a file_sink that was opened with "
            "file_sink_options::sync_directory");
    return options;
}

} // namespace

pipeline::pipeline(file_sink sink, pipeline_options options)
    : pipeline(validated(sink, options), std::move(sink)) {}

pipeline::pipeline(const pipeline_options& options, file_sink&& sink)
    : consumer_(std::make_shared<consumer>(std::move(sink), options)) {
    consumer::start(consumer_);
}

task<pipeline> pipeline::open(const file_sink_options& file, const pipeline_options& options) {
    file_sink_options wanted = file;
    wanted.numbered = form_of(options) == layout::numbered;
    wanted.has_segments = !options.durable.is_none();
    // A link would be what is renamed.
    wanted.may_be_link = file.may_be_link && options.segment_bytes_max == 0;
    // A record is not durable in a file whose name is not.
    wanted.sync_directory = file.sync_directory || !options.durable.is_none();
    const pipeline_options kept = options;
    file_sink sink = co_await file_sink::open(wanted);
    co_return pipeline(std::move(sink), kept);
}

pipeline::~pipeline() {
    if (consumer_ != nullptr) {
        consumer_->end();
    }
}

pipeline::append_awaiter pipeline::append(record&& item) noexcept {
    return {*consumer_, item};
}

bool pipeline::try_append(record&& item) {
    if (consumer_->queue.is_closed()) [[unlikely]] {
        consumer_->count_refused();
        consumer_->rethrow_failure();
    }
    return consumer_->queue.try_send(std::move(item));
}

lsn pipeline::append_now(const record_view& item) noexcept {
    return consumer_->append_now(item);
}

task<> pipeline::room_now() {
    return consumer::room_now(consumer_);
}

remote_sender<record> pipeline::remote(std::size_t capacity) {
    return {consumer_->queue, capacity};
}

receipt pipeline::written(lsn place) noexcept {
    return {consumer_->written, place, "wait for a record to be written"};
}

receipt pipeline::durable(lsn place) noexcept {
    return {consumer_->durable, place, "wait for a record to be durable"};
}

const log_health& pipeline::health() const noexcept {
    return consumer_->health();
}

void pipeline::on_health(std::function<void(const log_health&)> tell) {
    consumer_->on_health(std::move(tell));
}

task<> pipeline::flush() {
    return consumer::flush(consumer_);
}

task<> pipeline::close() {
    return consumer::close(consumer_);
}

void pipeline::look_soon() noexcept {
    consumer_->look_soon();
}

pipeline_counts pipeline::counts() const noexcept {
    return consumer_->counts();
}

const file_sink_counts& pipeline::file() const noexcept {
    return consumer_->sink().counts();
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

void pipeline::append_awaiter::note_place() noexcept {
    place_ = consumer_->accepted();
}

bool pipeline::append_awaiter::is_refused() noexcept {
    reason_ = consumer_->refusal();
    if (!reason_) [[likely]] {
        return false;
    }
    end_ = detail::wait_end::closed;
    return true;
}

void pipeline::append_awaiter::refused(std::error_code reason) noexcept {
    consumer_->count_refused();
    failure_ = std::exchange(consumer_, nullptr)->failure();
    send_awaiter::refused(reason);
}

/// Who was refused while he waited has been counted, and the pipeline may be gone.
void pipeline::append_awaiter::count_refused() noexcept {
    if (consumer_ != nullptr) {
        consumer_->count_refused();
    }
}

void pipeline::append_awaiter::fail() {
    count_refused();
    const auto failure = consumer_ != nullptr ? consumer_->failure() : failure_;
    if (failure) {
        std::rethrow_exception(failure);
    }
    throw std::system_error(reason_, reason_ == errc::closed
                                         ? "append to a pipeline that was closed"
                                         : "append to a pipeline whose disk takes no records");
}

} // namespace sapwood
