"""A Scrapy extension that reports a spider to Sluice: one job per run, with its progress, its end and its errors.

Copy this file and sluice_client.py into the project, and add to settings.py:

    EXTENSIONS = {"myproject.scrapy_sluice.SluiceExtension": 500}
    SLUICE_ADDRESS = "/run/sluice/sluice.sock"   # or ("host", port)
    SLUICE_TOKEN = None                          # if the broker requires one
    SLUICE_ENTITY_TYPE = "project"               # what the spider crawls: an EntityType of the broker's schemas
    SLUICE_INTERVAL = 1.0                        # seconds between two messages about progress

The job's ID is the spider's argument `job_id` (scrapy crawl NAME -a job_id=job-7); by default, a new one.
"""

import uuid

from scrapy import signals
from scrapy.exceptions import NotConfigured
from twisted.internet.task import LoopingCall

from .sluice_client import SluiceClient


class SluiceExtension:
    @classmethod
    def from_crawler(cls, crawler):
        settings = crawler.settings
        address = settings.get("SLUICE_ADDRESS")
        if not address:
            raise NotConfigured("SLUICE_ADDRESS is not set")
        extension = cls(
            address,
            settings.get("SLUICE_TOKEN"),
            settings.get("SLUICE_ENTITY_TYPE", "project"),
            settings.getfloat("SLUICE_INTERVAL", 1.0),
        )
        for handler in ("spider_opened", "item_scraped", "spider_error", "spider_closed"):
            crawler.signals.connect(getattr(extension, handler), getattr(signals, handler))
        return extension

    def __init__(self, address, token, entity_type, interval):
        self._address = address
        self._token = token
        self._entity_type = entity_type
        self._interval = interval
        self._items = 0
        self._errors = 0
        self._reported = None

    def spider_opened(self, spider):
        self._job_id = getattr(spider, "job_id", None) or f"{spider.name}-{uuid.uuid4()}"
        self._client = SluiceClient(
            self._address,
            crawler_id=f"{spider.name}-{uuid.uuid4().hex[:8]}",
            token=self._token,
            heartbeat=self._heartbeat,
        )
        self._client.publish("job_started", {"entityType": self._entity_type}, job_id=self._job_id)
        self._progress = LoopingCall(self._report_progress)
        self._progress.start(self._interval, now=False)

    def item_scraped(self, item, spider):
        self._items += 1

    def spider_error(self, failure, response, spider):
        self._errors += 1

    def spider_closed(self, spider, reason):
        self._progress.stop()
        counts = {"items": self._items, "errors": self._errors}
        if reason == "finished":
            data = {"success": self._errors == 0, "finalCounts": counts}
            self._client.publish("job_completed", data, job_id=self._job_id, timeout=10)
        else:
            data = {"error": reason, "isRecoverable": reason == "shutdown", "partialCounts": counts}
            self._client.publish("job_failed", data, job_id=self._job_id, timeout=10)
        left = self._client.close(timeout=10)
        if left > 0:
            spider.logger.warning("Sluice has not confirmed %d messages", left)

    def _report_progress(self):
        if self._reported == self._items:
            return
        data = {
            "stage": "fetching",
            "entityType": self._entity_type,
            "processed": self._items,
            "itemCounts": {"items": self._items, "errors": self._errors},
        }
        try:
            # Twisted must not be held up: if the broker is away for long, a later message says more.
            self._client.publish("job_progress", data, job_id=self._job_id, timeout=0)
            self._reported = self._items
        except TimeoutError:
            pass

    def _heartbeat(self):
        return {"activeJobs": 1, "totalProcessed": self._items, "systemStatus": "crawling"}
