import os

import uvicorn

uvicorn.run("serving.server:app", host="0.0.0.0", port=int(os.environ["PORT"]), log_level="warning")
