// file_sink: the one owner of a log file's descriptor. Appends whole lines and nothing else: a
// short write is continued before anything else happens, and what a failed write left of a line is
// cut off again. It follows its name: where somebody has renamed or removed the file, it is opened
// anew. One coroutine at a time may use it. Loop thread only.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/file.hpp>
#include <sapwood/log_news.hpp>
#include <sapwood/lsn.hpp>
#include <sapwood/task.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

namespace sapwood {

struct file_sink_options {
    /// The log file. Created if it is not there. Borrowed for the call only. A view and not a
    /// string because gcc 12 destroys the members of an aggregate that is made inside a co_await
    /// expression twice.
    std::string_view path;

    /// Permissions of a file that is created, less the umask. Logs tell secrets: by default only
    /// its owner's.
    mode_t mode = 0600;

    /// The group of a file that is created; by default the kernel's choice.
    gid_t group = static_cast<gid_t>(-1);

    /// Directories of the path that are missing are made, with this mode less the umask. By
    /// default a missing directory is an error: it may be a file system that is not mounted.
    bool make_directories = false;
    mode_t directory_mode = 0700;

    /// The path may be a symbolic link when the log begins. One that is there later only is never
    /// followed: somebody has planted it. A log that has segments may be none: its names would be
    /// in the link's directory, and its lines in another.
    bool may_be_link = true;

    /// A name that is new in the directory is made to survive the machine before it is used.
    bool sync_directory = true;

    /// Its lines are numbered (see numbered_line.hpp), and so it can be seen what a machine that
    /// lost its power has left: opening it moves a damaged end aside, has the rest on disk, and
    /// tells the last number. It may be no link.
    bool numbered = false;

    /// It is begun anew by begin_segment(): of a writer that was killed in the midst of that, the
    /// file that it had made becomes the log. What is numbered always is. It may be no link.
    bool has_segments = false;

    /// Space is allocated so far ahead of the log's end and filled with zeros, and lines go over
    /// them past the page cache (O_DIRECT): a sync of few lines then takes half as long, for
    /// neither the file's length changes nor waits it for the journal. Until it is closed the file
    /// ends with zeros, and nobody else may append to it or cut it. Of numbered logs only; where
    /// the file system cannot, lines are appended and one of them says so. 0: no. 1 MiB is enough
    /// for thousands of small batches.
    std::size_t preallocated_bytes = 0;

    static constexpr std::size_t preallocated_bytes_max = 64u << 20;

    /// Of a file that begin_writeback() or bound_cache() is called for: of what is written and has
    /// been written back, the kernel keeps about so many bytes in memory, for those who follow
    /// the log, and drops what is before. A log that grows fast then does not take the place of
    /// what others read, and its lines go where there were others and not into memory that a
    /// virtual machine has yet to be given, which there costs several times as much. 0: the kernel
    /// decides.
    std::uint64_t cached_bytes_max = 32u << 20;
};

static_assert(std::is_trivially_destructible_v<file_sink_options>);

/// A write that failed. `bytes_kept` of it, whole lines, are in the file.
class write_error : public std::system_error {
  public:
    write_error(std::error_code code, const std::string& what, std::size_t kept)
        : std::system_error(code, what),
          bytes_kept(kept) {}

    std::size_t bytes_kept;
};

/// A sync that failed, or a write of which it is not known whether it was its sync that failed:
/// what the file has of what was written since the last success cannot be trusted any more,
/// whatever a second sync says.
class sync_error : public std::system_error {
  public:
    using std::system_error::system_error;
};

namespace detail {

class crash_file;
class log_file_settings;
class opened_log;
class parts_kept;
class preallocation;
class replaced_file;
class write_behind;

} // namespace detail

struct file_sink_counts {
    /// Opened anew, because the name was another file's or nobody's.
    std::uint64_t reopened = 0;
    /// Somebody else has cut the file.
    std::uint64_t truncated = 0;
    std::uint64_t rotated = 0;
};

/// How the end of a file compares with what its sink has written.
enum class file_end : std::uint8_t {
    as_written,
    /// Somebody has cut it.
    cut,
    /// Somebody else has appended, a child that was forked or a person, and no sync has come since:
    /// these lines are perhaps not on disk, whatever a synced write of ours says.
    lengthened,
    /// Nothing leads to it any more: with the last descriptor all of it is gone.
    removed,
    /// Where space is preallocated somebody has cut or lengthened it: what is written now may come
    /// to stand anywhere.
    in_doubt,
};

/// Whether lines that were written are perhaps not in it any more.
[[nodiscard]] constexpr bool has_lost_lines(file_end end) noexcept {
    return end == file_end::cut || end == file_end::removed || end == file_end::in_doubt;
}

class file_sink {
  public:
    /// Opens the log for appending and locks it. A torn last line, left by a writer that was
    /// killed, is moved to `<path>.torn`; see torn_bytes. Throws std::system_error, with the path
    /// and the reason: cannot be opened, is not a regular file with one name, or has a writer
    /// already, which is named.
    [[nodiscard]] static task<file_sink> open(const file_sink_options& options);

    /// In a forked child: the log that the parent has open by `fd`, which both of them append to.
    /// The lock is the parent's, whose sink, copied in the middle of anything, is looked at for
    /// what never changes. Throws std::system_error where `fd` cannot be doubled.
    [[nodiscard]] static task<file_sink> share(const file_sink& parents, int fd);

    file_sink(file_sink&&) noexcept;
    file_sink& operator=(file_sink&&) = delete;
    ~file_sink();

    /// Appends `lines`, which end with a newline, and returns when the kernel has them all: they
    /// survive this process. Throws write_error; of a numbered log sync_error, where somebody else
    /// has written in the midst of them. Where there is no memory to tell why, and lines were kept,
    /// a write_error with not_enough_memory tells how many; std::bad_alloc, and none were. Not
    /// cancelled half-way: a request to stop is delivered at the caller's next wait.
    [[nodiscard]] task<> write(std::span<const char> lines);

    /// Returns when everything written survives the machine. Throws sync_error, and does so each
    /// time from then on, until another file takes this one's place: the kernel tells a failure
    /// once, and what it is asked then it cannot know.
    [[nodiscard]] task<> datasync();

    /// For who will sync only later: where `bytes_min` at least were written since the last sync or
    /// the last call that did so, has the kernel begin to write them to the disk, and does not wait
    /// for it; and drop what is too much of earlier ones (cached_bytes_max). Where the first of the
    /// two fails the next sync throws. From then on close() must be awaited before
    /// this goes or is moved. Throws std::bad_alloc.
    [[nodiscard]] task<> begin_writeback(std::size_t bytes_min);

    /// The same for who will never sync, and does not ask whether it fails. Does nothing where
    /// cached_bytes_max is 0.
    [[nodiscard]] task<> bound_cache(std::size_t bytes_min);

    /// What others have done to the file, as it is at this moment. That they have cut it is so
    /// until end_cut_line(), whatever was written since: what was not known to be on disk may be
    /// gone.
    [[nodiscard]] file_end look_at_end() noexcept;

    /// Where it was cut in the middle of a line, ends it: the next one is a line of its own. A
    /// write does so by itself; this has everything in the file on disk then, as well, so that the
    /// next line may be marked, and takes the cut for known. Throws write_error, and sync_error.
    [[nodiscard]] task<> end_cut_line();

    /// The same, and tells which numbers from `first` on stand at the file's end, in their order;
    /// of a log that is not numbered, none. Throws other std::system_errors, too, and the cut is
    /// not taken for known then.
    [[nodiscard]] task<std::vector<lsn>> look_after_cut(lsn first);

    /// Of a file that somebody else has cut so that nothing more is to be written to it: throws
    /// sync_error, after which a new segment must be begun. The log's next line tells why.
    [[noreturn]] void give_up();

    /// Both, in one operation where the kernel can: for few lines, with everything before them on
    /// disk already. Throws write_error, where nothing but the write has failed and what was kept
    /// is on disk; or sync_error, as datasync().
    [[nodiscard]] task<> write_synced(std::span<const char> lines);

    /// Between two writes: looks, every half second at most, whether the file still has its name.
    /// Where it has not, it is opened anew, which is what a reader of the new file must know, and
    /// returned; where that cannot be, as well, and writing goes on into the file that was opened.
    /// Numbers from `next` on are still to come: a file that has the name and has such already,
    /// another process's, is set aside, and a new one is begun. Not cancelled half-way. Throws only
    /// std::bad_alloc and `cancelled`.
    [[nodiscard]] task<log_news> follow(lsn next = lsn::none);

    /// follow() looks the next time, however short a time ago it did.
    void look_soon() noexcept;

    /// Whether follow() would look.
    [[nodiscard]] bool follow_is_due() const noexcept;

    /// The same at once; nothing is to be told of a file that somebody has renamed.
    [[nodiscard]] task<log_news> reopen(lsn next = lsn::none);

    /// Renames the file to `to`, a name that must be free, and goes on with a new one. With `sync`
    /// both survive the machine then; where a sync of the file has failed, which no other makes
    /// good, it is renamed all the same, and follow() tells. Throws std::system_error, EEXIST where
    /// `to` is taken, and writing goes on into the file that was there, under its own name where
    /// that can be had. The file that was there stays locked for as long as a child that was forked
    /// has it open.
    [[nodiscard]] task<> rotate(std::string to, bool sync);

    /// The same without a sync, to `<path>.<next>`, or the first such name that is free.
    [[nodiscard]] task<> rotate(lsn next);

    /// Goes on in a new file with `first` and `second`, which are whole lines and on disk when it
    /// returns. The file that was there, of which only lines before `next` are of use any more, is
    /// `<path>.<next>` from then on; or whatever else somebody has made of it. Made in
    /// `<path>.next`, so that killed at any step the next open finds one or the other. Throws
    /// std::system_error, and it can be called again. Not cancelled half-way. Where `<path>.<next>`
    /// is taken, `-2`, `-3` and so on stand behind it; so is called what somebody else has put in
    /// the log's place meanwhile, of which follow() tells. `aside` is another name for it, in the
    /// same directory; EEXIST where that is taken, and nothing has changed.
    [[nodiscard]] task<> begin_segment(std::span<const char> first, std::span<const char> second,
                                       lsn next, std::string aside = {});

    /// Others have written to the file, a signal's handler say, or it is not known how far a write
    /// of ours has come: looks after it as open() does, which has all of it on disk. Returns which
    /// numbers from `first` on its end has, in their order. Throws std::system_error; sync_error
    /// where what is there cannot be trusted. Where that leaves it, it can be called again.
    [[nodiscard]] task<std::vector<lsn>> recover_again(lsn first);

    /// Closes the file, which gives up the lock. The destructor does it too, but blocks.
    [[nodiscard]] task<> close();

    [[nodiscard]] const std::string& path() const noexcept;

    /// The present file's, which is another one after follow(), reopen() and rotate(). For a
    /// handler of crashes, and to be had until then only.
    [[nodiscard]] int fd() const noexcept { return file_.fd(); }

    /// From now on `notes` have the present file, and never one that is closed. They must live as
    /// long as this. A file that a handler has in its turn stays open for good.
    void note_in(detail::crash_file& notes) noexcept;

    /// In a child of the process that opened it, which shares the file and its lock.
    [[nodiscard]] bool is_inherited() const noexcept;

    /// How long the file is, as far as it is known: what others have done to it shows in follow().
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

    /// When the file was last written to before it was opened; its birth where it is new.
    [[nodiscard]] std::chrono::system_clock::time_point modified() const noexcept {
        return modified_;
    }

    [[nodiscard]] const file_sink_counts& counts() const noexcept { return counts_; }

    [[nodiscard]] bool is_numbered() const noexcept;

    /// Lines go into space that was allocated before, as the options want it.
    [[nodiscard]] bool is_preallocated() const noexcept;

    /// A segment was begun and has not got its name yet: begin_segment must be called again.
    [[nodiscard]] bool is_unnamed() const noexcept { return is_unnamed_; }

    /// The number of the last line that was there when it was opened; none where there was none, or
    /// it is not numbered.
    [[nodiscard]] lsn last_lsn() const noexcept { return last_lsn_; }

    /// How many bytes of a torn last line, or a damaged end, were moved to `<path>.torn` by open.
    [[nodiscard]] std::uint64_t torn_bytes() const noexcept { return torn_bytes_; }

    /// The same in words, for a line of the log; empty where there were none.
    [[nodiscard]] log_news torn_news() const;

    /// Has follow() tell of them.
    void tell_torn();

    /// Whether a new name survives the machine before it is used.
    [[nodiscard]] bool syncs_directory() const noexcept;

  private:
    file_sink(detail::opened_log opened, std::unique_ptr<detail::log_file_settings> settings);

    static task<file_sink> open_with(std::unique_ptr<detail::log_file_settings> settings);
    static task<> finish_segment(const detail::log_file_settings& settings);
    task<> settle_segment();
    task<lsn> first_of_more(detail::opened_log& made, const std::string& making);
    task<> recover();
    task<> recover_plain();
    task<> recover_numbered();
    task<> rewrite(std::span<const char> lines, std::uint64_t begin);
    task<> move_torn_tail(std::uint64_t torn);
    task<> copy_tail(file& aside, std::uint64_t begin, std::uint64_t size);
    task<> write_lines(std::span<const char> lines, bool synced);
    static void require_preallocatable(const file_sink_options& options);
    task<> preallocate(const std::string& name);
    task<> write_preallocated(std::span<const char> lines, bool synced);
    task<> give_space_back();
    task<> cut_off_zeros();
    void look_at_preallocated(std::uint64_t file_size) noexcept;
    void tell_later(log_news news);
    [[nodiscard]] bool look_is_due() const noexcept;
    [[nodiscard]] bool has_grown() const noexcept;
    void note_failed_sync(std::error_code why) noexcept;
    task<> end_writeback();
    void require_no_failed_sync() const;
    [[nodiscard]] bool is_lengthened() const noexcept;
    void note_others(std::uint64_t end) noexcept;
    task<> begin_line();
    task<> end_last_line();
    task<std::vector<lsn>> numbers_at_end(lsn first);
    task<> require_unmixed(std::span<const char> lines, std::uint64_t begin);
    [[noreturn]] void rethrow_kept(std::size_t bytes);
    task<> cut_off_partial_line();
    task<bool> cut_to(std::uint64_t end);
    void note_handlers() noexcept;
    [[nodiscard]] bool has_handler_come() const noexcept;
    task<log_news> look(bool is_asked, lsn next);
    [[nodiscard]] bool is_between_names() const noexcept;
    task<log_news> change_file(bool is_asked, lsn next);
    task<file_sink> open_by_name(lsn next);
    [[nodiscard]] detail::replaced_file adopt(file_sink& fresh) noexcept;
    task<> let_go(detail::replaced_file old, bool keep_lock);
    task<> take_place(file_sink& fresh, bool keep_lock);
    void tell_cut() noexcept;
    static task<> rename_aside(std::string from, std::string to);
    task<> require_name();
    task<> go_on_anew(const std::string& aside);
    task<> remove_left_in_making();
    task<> make_way(lsn next, std::string aside);
    task<std::string> set_aside(lsn next, std::string from);
    task<> set_anothers_aside(lsn next);
    task<> take_name();
    [[nodiscard]] log_news tell_unknown(std::error_code failure);
    [[nodiscard]] log_news tell_once(const std::system_error& error);
    [[nodiscard]] bool is_taken_over() const noexcept;
    [[nodiscard]] bool leave_to_handler(file& of, bool keep_lock) const noexcept;
    void throw_cancelled_or(std::error_code error, const char* what) const;

    std::unique_ptr<detail::log_file_settings> settings_;
    file file_;
    std::uint64_t inode_;
    std::uint64_t device_;
    std::uint64_t size_;
    std::chrono::system_clock::time_point modified_;
    /// In which process it was opened: a child that was forked shares the file and its lock.
    pid_t opener_;
    clock::time_point looked_;
    /// Of the attempt that failed and was told last: it is told once.
    std::error_code told_failure_;
    /// Looks at the name, one after the other, that told nothing.
    unsigned looks_failed_ = 0;
    /// What others have cut off, before the last look.
    std::uint64_t bytes_cut_ = 0;
    /// Its end, where that was, has not been looked at.
    bool has_cut_end_ = false;
    /// And who relies on what was written does not know of it.
    bool was_cut_ = false;
    /// Somebody else has appended before what was written last, and no sync has come since.
    bool has_others_lines_ = false;
    /// A piece of ours may stand before what somebody else has appended, or end the file.
    bool has_piece_before_ = false;
    /// Of the sync of this file that failed, if one has: no other is believed.
    std::error_code failed_sync_;
    /// What a failed write left of a line at the end of the file and could not cut off.
    std::uint64_t partial_line_bytes_ = 0;
    std::uint64_t torn_bytes_ = 0;
    /// The kernel and the file system know RWF_DSYNC, as far as we have seen.
    bool can_write_synced_ = true;
    lsn last_lsn_ = lsn::none;
    /// The first number that the present segment was begun for, where it was begun by this.
    lsn segment_begin_ = lsn::none;
    /// The inode of a segment that was not finished and could not be removed; 0: there is none.
    std::uint64_t left_in_making_ = 0;
    /// The file is a segment that is whole, and has not got the log's name yet.
    bool is_unnamed_ = false;
    /// Null where lines are appended.
    std::unique_ptr<detail::preallocation> preallocation_;
    /// Null until begin_writeback is first called.
    std::unique_ptr<detail::write_behind> write_behind_;
    /// For the next follow().
    log_news news_;
    file_sink_counts counts_;
    /// What a write throws that there is no memory to tell of.
    std::unique_ptr<detail::parts_kept> untold_;
    detail::crash_file* notes_ = nullptr;
    /// How many handlers of crashes were done when the file's end was looked at that is to be cut
    /// off.
    std::uint32_t handlers_seen_ = 0;
};

} // namespace sapwood
